import dataclasses

import pytest
from tiny_store import entries, make, segmenter

from synthgate.cards import Card
from synthgate.errors import LineageError
from synthgate.params import Arm, Study
from synthgate.study.arms import BatchAtHand, eligible, plan

REAL = Arm("all", {}, "donor")
MIXED = Arm("all", {"b": 0.25}, "donor", "real")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A batch whose cases show the anatomy of ann and bob."""
    return make(
        tmp_path_factory.mktemp("batch"), entries({"s1": "synthetic", "s2": "synthetic"}, donors=("ann", "bob"))
    )


def card(*patients):
    return Card("synthesize", "b", "brain", patients, {})


def study(arms, draws=1):
    return Study(arms, draws, segmenter(), 0.03, 0.95, 0, 7)


def with_donors(store, *donors):
    other = type(store)(store.folder, store.channels, store.size, list(store.cases))
    other.cases = [dataclasses.replace(case, donors=donors) for case in store.cases]
    return BatchAtHand(other, None, "approved", 1.0)


def test_the_arms_train_on_who_they_say(tiny, made):
    batches = {"b": BatchAtHand(made, card("ann", "bob", "cay"), "approved", 1.0)}
    real, mixed = plan(study({"real": REAL, "mixed": MIXED}), tiny, batches)
    assert set(real.patients) == set(mixed.patients) == {"ann", "bob", "cay", "dan"}
    assert [pool.share for pool in real.pools] == [1.0]
    assert {case.patient for case in real.pools[0].cases} == set(real.patients)
    assert [pool.share for pool in mixed.pools] == [0.75, 0.25]
    assert [case.case for case in mixed.pools[1].cases] == [case.case for case in made.cases]
    assert (real.name, real.foreign, mixed.foreign) == ("real-0", (), ())


def test_draws_have_their_own_seed_and_arms_share_it(tiny, made):
    batches = {"b": BatchAtHand(made, card("ann", "bob"), "approved", 1.0)}
    small = {"real": Arm(2, {}, "donor"), "mixed": Arm(2, {"b": 0.5}, "donor", "real"), "three": Arm(3, {}, "donor")}
    found = {(t.arm, t.draw): t for t in plan(study(small, draws=6), tiny, batches)}
    assert len(found) == 18
    for draw in range(6):
        real, mixed, three = (found[arm, draw] for arm in ("real", "mixed", "three"))
        assert real.seed == mixed.seed == three.seed == 7 + draw
        assert real.patients == mixed.patients and len(real.patients) == 2
        assert {case.patient for case in mixed.pools[0].cases} == set(mixed.patients)
        assert set(real.patients) < set(three.patients)
        assert set(mixed.foreign) == {"ann", "bob"} - set(mixed.patients)
    assert len({found["real", draw].patients for draw in range(6)}) > 1


def test_nobody_outside_training_is_in_a_pool(tiny, made):
    for training in plan(study({"real": REAL}), tiny, {}):
        assert {case.split for pool in training.pools for case in pool.cases} == {"train"}


def test_synthetic_only_has_no_real_pool(tiny, made):
    arms = {"real": REAL, "only": Arm("all", {"b": 1.0}, "donor", "real")}
    batches = {"b": BatchAtHand(made, card("ann", "bob"), "approved", 1.0)}
    only = plan(study(arms), tiny, batches)[1]
    assert [pool.share for pool in only.pools] == [1.0]


@pytest.mark.parametrize(("who", "what"), [("eve", "validation"), ("fay", "hold-out"), ("zoe", "unknown")])
def test_a_batch_whose_card_names_somebody_kept_from_training_is_refused(tiny, made, who, what):
    batches = {"b": BatchAtHand(made, card("ann", who), "approved", 1.0)}
    with pytest.raises(LineageError, match=f"batch b derives from patient {who}, who is {what}, expected train"):
        plan(study({"real": REAL, "mixed": MIXED}), tiny, batches)


@pytest.mark.parametrize("who", ["eve", "fay"])
def test_a_batch_whose_cases_show_somebody_kept_from_training_is_refused(tiny, made, who):
    for known in (None, card("ann")):
        batch = dataclasses.replace(with_donors(made, "ann", who), card=known)
        with pytest.raises(LineageError, match=f"derives from patient {who}"):
            plan(study({"real": REAL, "mixed": MIXED}), tiny, {"b": batch})


def test_an_own_arm_refuses_foreign_patients_and_takes_its_own(tiny, made):
    batches = {"b": BatchAtHand(made, card("ann", "bob", "cay", "dan"), "approved", 1.0)}
    own = {"real": Arm(2, {}, "own"), "mixed": Arm(2, {"b": 0.5}, "own", "real")}
    with pytest.raises(LineageError, match=r"arm mixed has the regime own.*learned from 2 patients"):
        plan(study(own), tiny, batches)
    everybody = {"real": Arm("all", {}, "own"), "mixed": Arm("all", {"b": 0.5}, "own", "real")}
    assert plan(study(everybody), tiny, batches)[1].foreign == ()
    donor = {"real": Arm(2, {}, "donor"), "mixed": Arm(2, {"b": 0.5}, "donor", "real")}
    assert len(plan(study(donor), tiny, batches)[1].foreign) == 2


@pytest.mark.parametrize(
    ("proportion", "allowed"), [(1.0, True), (0.5, True), (0.25, True), (0.24, False), (0.0, False)]
)
def test_an_arm_may_be_released_up_to_the_proportion_of_the_verdict(made, proportion, allowed):
    batches = {"b": BatchAtHand(made, None, "limited", proportion), "c": BatchAtHand(made, None, "approved", 1.0)}
    assert eligible(MIXED, batches) is allowed
    assert eligible(dataclasses.replace(MIXED, batches={"b": 0.25, "c": 0.75}), batches) is allowed
    assert eligible(REAL, batches)


def test_a_rejected_batch_is_trained_on_all_the_same(tiny, made):
    batches = {"b": BatchAtHand(made, card("ann"), "rejected", 0.0)}
    assert len(plan(study({"real": REAL, "mixed": MIXED}), tiny, batches)) == 2
