"""Contract: is each case well formed, and does it say where it comes from? Great Expectations on the case table."""

import copy
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
import great_expectations as gx
from great_expectations import expectations as expect
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig

from synthgate.gate.measured import Measured
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Outcome, Weight

CALLS = re.compile(r"<(?:script|link|img)\b[^>]*https?://[^>]*>(?:\s*</script>)?|url\(['\"]?https?://[^)]*\)")
STAMPS = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d{8}T\d{6}\.\d+Z|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
INSIDE = 0.95
"""Least share of a lesion that lies in the head."""


@dataclass(frozen=True)
class Rule:
    """An expectation on one column, with the sentence for a case that breaks it."""

    name: str
    expectation: Any
    broken: str
    weight: Weight = "thins"


RULES = (
    Rule("unique_content", expect.ExpectColumnValuesToBeUnique(column="content"), "the same image as another case"),
    Rule("known_labels", expect.ExpectColumnValuesToBeBetween(column="foreign", max_value=0), "labels outside the set"),
    Rule(
        "no_constant_channel",
        expect.ExpectColumnValuesToBeBetween(column="constant", max_value=0),
        "a constant channel",
    ),
    Rule(
        "lesion_in_head",
        expect.ExpectColumnValuesToBeBetween(column="inside", min_value=INSIDE),
        "a lesion off the head",
    ),
    Rule(
        "no_patient",
        expect.ExpectColumnValuesToBeNull(column="patient"),
        "the image of a real patient",
        "rejects",
    ),
)


def judge(trial: Trial) -> list[Finding]:
    """Findings on single cases, and on who is behind them."""
    batch = trial.batch
    return [
        *_expected(_table(trial)),
        _lineage(batch, trial.split_of, trial.learned_from),
        _provenance(batch, trial.public),
    ]


def _table(trial: Trial) -> pd.DataFrame:
    batch = trial.batch
    return pd.DataFrame(
        {
            "case": batch.case,
            "content": batch.content,
            "foreign": batch.foreign,
            "constant": batch.constant,
            "inside": batch.inside,
            "patient": [trial.contents.get(content) for content in batch.content],
        }
    )


def _asked() -> tuple[EphemeralDataContext, BatchDefinition, gx.ExpectationSuite]:
    """Great Expectations with the rules as a suite, on a table to be given."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("gate").add_dataframe_asset("cases")
    suite = gx.ExpectationSuite("contract", expectations=[copy.copy(rule.expectation) for rule in RULES])
    return context, asset.add_batch_definition_whole_dataframe("all"), suite


def _expected(table: pd.DataFrame) -> list[Finding]:
    _, batch, suite = _asked()
    found = batch.get_batch(batch_parameters={"dataframe": table}).validate(suite, result_format="COMPLETE")
    by_column = {}
    for result in found.results:
        assert result.expectation_config is not None
        by_column[result.expectation_config.kwargs["column"]] = result
    out = []
    for rule in RULES:
        result = by_column[rule.expectation.column]
        bad = tuple(str(table["case"][i]) for i in result.result.get("unexpected_index_list") or [])
        told = f"{len(bad)} of {len(table)} cases have {rule.broken}" if bad else f"No case has {rule.broken}"
        shown = [_named(table, case) for case in bad[:5]]
        told += f": {', '.join(shown)}." if bad else "."
        outcome: Outcome = "passed" if result.success else "failed"
        if not result.success and not bad:  # the check itself broke
            outcome, told = "undefined", f"Whether a case has {rule.broken} could not be checked."
        out.append(
            Finding("contract", rule.name, outcome, rule.weight, told, float(len(bad)), None, 0.0, "a rule", bad)
        )
    return out


def _named(table: pd.DataFrame, case: str) -> str:
    """The case and, where its image is a patient's, that patient's pseudonym."""
    who = table.loc[table["case"] == case, "patient"].iloc[0]
    return case if pd.isna(who) else f"{case} (patient {who})"


def _lineage(batch: Measured, split_of: Mapping[str, str], learned_from: Sequence[str]) -> Finding:
    """Nobody behind the batch is outside training."""
    named = {case: set(filter(None, people.split(";"))) for case, people in zip(batch.case, batch.people, strict=True)}
    wrong = {who for people in [*named.values(), set(learned_from)] for who in people if split_of.get(who) != "train"}
    bad = tuple(str(case) for case, people in named.items() if people & wrong)
    if not wrong and not learned_from:
        told = "It does not say whom its generator learned from: a leak from held-out patients cannot be excluded."
        return Finding("contract", "lineage", "not_provided", "rejects", told)
    if not wrong:
        return Finding("contract", "lineage", "passed", "rejects", "All patients behind it are training patients.")
    who = sorted(wrong)[0]
    told = (
        f"It derives from {len(wrong)} people who are not training patients, first of them {who}, "
        f"who is {split_of.get(who, 'unknown to the study')}: nothing made from them may be trained on."
    )
    return Finding("contract", "lineage", "failed", "rejects", told, float(len(wrong)), None, 0.0, "a rule", bad)


def _provenance(batch: Measured, public: bool) -> Finding:
    """Whether each case names its donors; a batch from outside may not, and says so."""
    if public:
        told = "By its card its anatomies come from a public source: no patient is behind them."
        return Finding("contract", "provenance", "passed", "rejects", told)
    silent = tuple(str(c) for c, people in zip(batch.case, batch.people, strict=True) if not people)
    if not silent:
        return Finding(
            "contract", "provenance", "passed", "rejects", "Every case names the patients behind its anatomy."
        )
    told = f"{len(silent)} of {len(batch)} cases do not name the patients behind them; they are judged on the rest."
    outcome: Outcome = "not_provided" if len(silent) == len(batch) else "failed"
    return Finding("contract", "provenance", outcome, "rejects", told, float(len(silent)), None, 0.0, "a rule", silent)


def report(trial: Trial, folder: Path) -> None:
    """Write Great Expectations' Data Docs page on the case table as `data_docs.html`.

    Their page calls a dozen servers for styles, scripts and a counting pixel; a hospital's page calls nobody, so these
    are taken out, and the times of the run with them: the same findings give the same bytes.
    """
    context, batch, suite = _asked()
    for site in list(context.list_data_docs_sites()):
        context.delete_data_docs_site(site)
    with tempfile.TemporaryDirectory() as beside:
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": beside}
        context.add_data_docs_site(
            "report",
            {
                "class_name": "SiteBuilder",
                "store_backend": store,
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            },
        )
        definition = gx.ValidationDefinition(data=batch, suite=context.suites.add(suite), name="contract")
        checkpoint = gx.Checkpoint(
            name="contract",
            validation_definitions=[context.validation_definitions.add(definition)],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="docs")],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["case"]},
        )
        context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": _table(trial)})
        page = next(Path(beside).glob("validations/**/*.html")).read_text(encoding="utf-8")
        styles = (Path(beside) / "static/styles/data_docs_default_styles.css").read_text(encoding="utf-8")
    page = page.replace("</head>", f"<style>{styles}</style></head>", 1)
    (folder / "data_docs.html").write_text(STAMPS.sub("–", CALLS.sub("", page)), encoding="utf-8")
