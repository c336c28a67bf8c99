"""Where everything lies: the folders of `dvc.yaml`, relative to the repository's root."""

from pathlib import Path


def data(study: str) -> Path:
    """The real patients, a cohort folder."""
    return Path("data") / study


def splits(study: str) -> Path:
    """The splits table, in git."""
    return Path("splits") / f"{study}.csv"


def ledger(study: str) -> Path:
    """The openings of the hold-out, in git."""
    return Path("splits") / f"{study}.ledger.csv"


def build(study: str) -> Path:
    """The prepared store."""
    return Path("build") / study


def judges(study: str) -> Path:
    """The gate's instruments."""
    return Path("judges") / study


def generator(name: str) -> Path:
    """A trained generator."""
    return Path("models") / name


def batch(study: str, name: str) -> Path:
    """A synthetic batch, a cohort folder."""
    return Path("batches") / study / name


def gate(study: str, batch: str) -> Path:
    """A batch's verdict and report."""
    return Path("reports/gate") / study / batch


def candidates(study: str) -> Path:
    """The models of the arms that may be released."""
    return Path("models/arms") / study


def reports(stage: str, study: str) -> Path:
    """A stage's metrics and tables, in git."""
    return Path("reports") / stage / study


def release(study: str) -> Path:
    """The released bundle."""
    return Path("releases") / study
