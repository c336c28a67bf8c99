"""Fairness: whom does the batch represent? Shares of groups against the wish, and how each group is served."""

import numpy as np

from synthgate.gate import samples
from synthgate.gate.groups import UNKNOWN, attributes_of, groups
from synthgate.gate.trial import Trial
from synthgate.gate.verdict import Finding, Outcome
from synthgate.params import group_of
from synthgate.stats.intervals import difference
from synthgate.stats.multinomial import multinomial_p
from synthgate.stats.nulls import step_down

FEWEST = 8
"""Patients, and donors, below which a group is not assessed."""


def judge(trial: Trial) -> list[Finding]:
    """Per declared attribute: the shares of its groups, and the judge model's Dice in each; a failure limits."""
    out: list[Finding] = []
    for name in trial.params.attributes:
        ours, real = groups(name, trial.batch, trial.reference)
        if not (ours != UNKNOWN).any():
            told = f"It does not state {name}: whom it represents by {name} cannot be told."
            out.append(Finding("fairness", f"shares_{name}", "not_provided", "limits", told))
        elif name in trial.wish:
            out.append(_against_wish(trial, name, ours))
        else:
            out.append(_against_patients(trial, name, ours, real))
        out += _served(trial, name, ours, real)
    return out


def _against_wish(trial: Trial, name: str, ours: np.ndarray) -> Finding:
    """Exact multinomial test of one case per donor; the median over draws."""
    wish = trial.wish[name]
    stated = [one.get(name, UNKNOWN) for one in attributes_of(trial.batch)]
    # a wish has bands of its own
    ours = np.array([group_of(text, wish) or group for text, group in zip(stated, ours, strict=True)], dtype=object)
    outside = sorted(set(ours) - set(wish))
    values, shown = [], {}
    for draw, chosen in enumerate(samples.draws(trial.batch, trial.reference, trial.params)):
        counts = np.array([(ours[chosen] == group).sum() for group in [*wish, *outside]])
        shares = np.array([*wish.values(), *[0.0] * len(outside)])
        values.append(multinomial_p(counts, shares / shares.sum(), np.random.default_rng([trial.params.seed, draw, 5])))
        shown = dict(zip([*wish, *outside], counts / counts.sum(), strict=True))
    p = float(np.median([value for value in values if value is not None]))
    error = trial.params.error_rejecting / len(trial.params.attributes)
    outcome: Outcome = "failed" if p <= error else "passed"
    parts = [f"{group or 'unknown'} {share:.0%} for {wish.get(group, 0):.0%}" for group, share in shown.items()]
    is_ = "is not" if p <= error else "is"
    told = f"By {name} it {is_} what was wished ({', '.join(parts)}; p {p:.3f})."
    return Finding("fairness", f"shares_{name}", outcome, "limits", told, p, None, error, "exact multinomial test")


def _against_patients(trial: Trial, name: str, ours: np.ndarray, real: np.ndarray) -> Finding:
    """No wish was stated: are the groups as frequent as among the real patients? χ² by permutation of patients."""
    names = sorted(set(ours) | set(real))
    error = trial.params.error_rejecting / len(trial.params.attributes)
    results = []
    for draw, chosen in enumerate(samples.draws(trial.batch, trial.reference, trial.params)):
        masks = samples.labels(len(chosen), trial.reference, trial.params, draw, error)
        if masks is None:
            told = f"Too few real or synthetic cases to compare {name}."
            return Finding("fairness", f"shares_{name}", "undefined", "limits", told)
        member = np.concatenate([ours[chosen], real])[:, None] == np.array(names, dtype=object)[None]
        inside = (masks.astype(float) @ member) / masks.sum(axis=1, keepdims=True)
        whole = member.mean(axis=0)
        there = whole > 0  # a rare group may have nobody in this draw
        results.append(step_down(((inside - whole)[:, there] ** 2 / whole[there]).sum(axis=1, keepdims=True), error))
    found = samples.median_of(results)
    outcome = samples.outcome(float(found.p[0]), float(found.limit[0]), error)
    if len(names) < 2:
        outcome = "not_applicable"
    shares = ", ".join(
        f"{g or 'unknown'} {(ours == g).mean():.0%} of it, {(real == g).mean():.0%} of them" for g in names
    )
    told = f"By {name} it {'differs from' if outcome == 'failed' else 'is like'} the real patients ({shares})."
    origin = "χ² of shares, permutation of patients"
    return Finding("fairness", f"shares_{name}", outcome, "limits", told, origin=origin, **samples.figures(found, 0))


def _served(trial: Trial, name: str, ours: np.ndarray, real: np.ndarray) -> list[Finding]:
    """The judge model's Dice in each group against that on the group's own real patients."""
    weight, margin = trial.weight("limits"), trial.params.agreement_margin
    out = []
    names = sorted(set(ours) & set(real) - {UNKNOWN})
    for group in names:
        a, b = trial.batch.rows(ours == group), trial.reference.rows(real == group)
        label, finding = f"{name} {group}", f"dice_{name}_{group.replace(' ', '_')}"
        if min(len(np.unique(a.group)), len(np.unique(b.group))) < FEWEST:
            told = f"{label}: fewer than {FEWEST} donors or patients, not assessed."
            out.append(Finding("fairness", finding, "not_applicable", weight, told))
            continue
        error = trial.params.error_rejecting / len(names)
        found = difference(a.by_group(0), b.by_group(0), 1 - 2 * error)
        if found is None:
            told = f"{label}: too few cases with a lesion to compare the judge model's Dice."
            out.append(Finding("fairness", finding, "not_applicable", weight, told))
            continue
        bad = found.mean < -margin and found.high < 0
        told = f"{label}: the judge's Dice is {found.mean:+.2f} from that on real patients of this group."
        outcome: Outcome = "failed" if bad else "passed"
        origin = f"margin {margin:g}, and shown to be worse"
        interval = (found.low, found.high)
        smallest = found.smallest(margin, error)
        out.append(
            Finding(
                "fairness", finding, outcome, weight, told, found.mean, interval, -margin, origin, smallest=smallest
            )
        )
    return out
