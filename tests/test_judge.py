from typing import get_args

import numpy as np
import pytest
from tiny_measured import PARAMS, batch, changed, reference, trial

from synthgate.gate.individuality import individuality
from synthgate.gate.judge import judge, unreadable
from synthgate.gate.measured import SHARED, stack
from synthgate.gate.verdict import Axis

REFERENCE = reference(images=True)
BATCH = batch(20, images=True)
TRAIN = REFERENCE.rows(REFERENCE.split == "train")
SPLITS = dict(zip(REFERENCE.group.tolist(), REFERENCE.split.tolist(), strict=True))


def judged(table=BATCH, intent="realistic", learned_from=tuple(TRAIN.group)):
    before = trial(table, REFERENCE, intent, learned_from=tuple(map(str, learned_from)), split_of=SPLITS)
    return judge(before, "brain", "batch")


def test_an_honest_batch_is_limited_since_its_use_is_untested():
    verdict = judged()
    assert (verdict.verdict, verdict.proportion) == ("limited", 0.25), verdict.reasons
    assert {f.axis for f in verdict.findings} == set(get_args(Axis)) - {"utility"}
    assert verdict.not_judged == ("utility",)
    assert verdict.sizes == {"cases": 20, "donors": 20, "reference_patients": 60}
    assert len(verdict.reasons) == 1


def test_what_looks_unreal_is_rejected_only_if_it_claims_to_be_realistic():
    unreal = changed(BATCH, descriptors=BATCH.descriptors + 5, dice=BATCH.dice * 0.2)
    assert judged(unreal).verdict == "rejected"
    assert judged(unreal, "training-only").verdict == "limited"


@pytest.mark.parametrize("axis", ["contract", "privacy", "agreement"])
@pytest.mark.parametrize("intent", ["realistic", "training-only"])
def test_leaks_copies_and_wrong_labels_are_rejected_whatever_the_intent(axis, intent):
    images = BATCH.thumbnail.copy()
    images[3:5] = TRAIN.thumbnail[30:32, :, ::-1]
    table = {
        "contract": changed(BATCH, content=np.array([BATCH.content[0]] * 2 + BATCH.content[2:].tolist())),
        "privacy": changed(BATCH, thumbnail=images),
        "agreement": changed(BATCH, outline=np.roll(BATCH.outline, 1, axis=0)),
    }[axis]
    verdict = judged(table, intent)
    assert (verdict.verdict, verdict.proportion) == ("rejected", 0)
    assert {f.axis for f in verdict.findings if f.bad and f.weight in ("rejects", "thins")} == {axis}
    assert verdict.reasons


def test_a_single_copy_is_left_out_by_name_and_the_rest_judged():
    images = BATCH.thumbnail.copy()
    images[3] = TRAIN.thumbnail[30, :, ::-1]
    verdict = judged(changed(BATCH, thumbnail=images))
    assert verdict.verdict == "limited" and verdict.thinned == (BATCH.case[3],)
    assert any(TRAIN.group[30] in reason and "left out" in reason for reason in verdict.reasons)


def test_one_case_is_rejected_with_reasons_and_without_a_crash():
    verdict = judged(BATCH.rows(np.arange(1)))
    assert (verdict.verdict, verdict.proportion) == ("rejected", 0)
    assert not any(f.outcome == "passed" for f in verdict.findings if f.axis in ("drift", "agreement"))


def degenerate(kind):
    if kind == "identical cases":
        there = {k: v if k in SHARED else np.repeat(v[:1], len(v), axis=0) for k, v in vars(BATCH).items()}
        return changed(BATCH, **(there | {"case": BATCH.case, "content": BATCH.content}))
    if kind == "fewer cases than neighbours":
        return BATCH.rows(np.arange(2))
    if kind == "no lesion anywhere":
        lesion = np.isin(BATCH.names, ["WT_share", "lesion_x", "t1_contrast"])
        return changed(
            BATCH, descriptors=np.where(lesion, np.nan, BATCH.descriptors), dice=BATCH.dice * np.nan,
            inside=BATCH.inside * np.nan, outline=BATCH.outline * 0, shape=BATCH.shape * 0,
        )  # fmt: skip
    constant = np.where(BATCH.thumbnail > 0, 90, 0).astype(np.uint8)
    return changed(
        BATCH, thumbnail=constant, constant=BATCH.constant + 2, convolution=BATCH.convolution * 0,
        radiomics=BATCH.radiomics * np.nan, descriptors=BATCH.descriptors * 0,
    )  # fmt: skip


@pytest.mark.parametrize("intent", ["realistic", "training-only"])
@pytest.mark.parametrize(
    "kind", ["identical cases", "fewer cases than neighbours", "no lesion anywhere", "constant images"]
)
def test_degenerate_batches_never_pass_and_never_crash(kind, intent):
    verdict = judged(degenerate(kind), intent)
    assert (verdict.verdict, verdict.proportion) == ("rejected", 0), verdict.reasons
    numbers = [n for f in verdict.findings for n in (f.value, f.limit, f.smallest, *(f.null or ())) if n is not None]
    assert np.isfinite(numbers).all()


def test_faults_of_files_reject():
    verdict = unreadable(["a.nii.gz is truncated"], "brain", "batch", "realistic")
    assert verdict.verdict == "rejected" and "a.nii.gz is truncated" in verdict.reasons[0]


def test_verdicts_repeat_themselves():
    assert judged() == judged()


def test_unseen_patients_are_as_individual_as_training_patients():
    found = individuality(REFERENCE, PARAMS.components)
    for space in ("descriptors", "convolution"):
        assert found[space]["nearest_ratio"] == pytest.approx(1, abs=0.2)
        assert found[space]["one_nn_accuracy"] == pytest.approx(0.5, abs=0.2)
        assert 0.5 < found[space]["nndr"] <= 1


def test_copies_of_training_patients_under_other_names_are_too_near():
    again = np.array([f"again-{n}" for n in range(18)])
    copies = changed(TRAIN.rows(np.arange(18)), split=np.full(18, "validation"), group=again)
    found = individuality(stack([TRAIN, copies]), PARAMS.components)["convolution"]
    assert found["nearest_ratio"] == found["nndr"] == 0


def test_individuality_without_unseen_patients_is_undefined():
    found = individuality(TRAIN, PARAMS.components)
    assert set(found["convolution"].values()) == {"undefined"}
