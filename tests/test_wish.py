import numpy as np
import pytest

from synthgate.generators.wish import Wish, wish_of
from synthgate.params import Steer

REGIONS = ("WT", "TC", "ET")
STEER = Steer(
    volume_ml={"ET": (1, 4), "WT": (0.5, 32), "TC": (2, 8)}, hemisphere={"left": 0.25, "right": 0.75},
    lobe={"frontal": 0.5, "temporal": 0.5}, lesions={1: 0.75, 2: 0.25}, absent={"ET": 0.5, "TC": 0.25},
    attributes={"site": {"A": 0.5, "B": 0.5}, "sex": {"F": 1, "M": 0}},
)  # fmt: skip


def wishes(count=64, seed=0, steer=STEER):
    return [wish_of(steer, REGIONS, index, seed) for index in range(count)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [8, 16, 64])
def test_shares_are_a_quota(seed, count):
    some = wishes(count, seed)
    assert sum(one.hemisphere == "left" for one in some) == count // 4
    assert sum(one.lobe == "frontal" for one in some) == count // 2
    assert sum(one.lesions == 2 for one in some) == count // 4
    assert sum(one.absent["ET"] for one in some) == count // 2
    assert sum(one.attributes["site"] == "A" for one in some) == count // 2
    assert all(one.attributes["sex"] == "F" for one in some)


def test_quantities_are_not_tied_to_each_other():
    both = sum(one.lobe == "frontal" and one.attributes["site"] == "A" for one in wishes(256))
    assert 50 < both < 78


def test_what_lies_in_an_absent_region_is_absent_and_has_no_volume():
    for one in wishes():
        assert one.absent["ET"] or not one.absent["TC"]
        assert ("TC" in one.volume_ml) is not one.absent["TC"] and ("ET" in one.volume_ml) is not one.absent["ET"]


def test_volumes_are_even_in_log_and_fit_into_each_other():
    for one in wishes():
        sizes = [one.volume_ml[region] for region in REGIONS if region in one.volume_ml]
        assert sizes == sorted(sizes, reverse=True)
        assert all(STEER.volume_ml[region][0] <= size <= STEER.volume_ml[region][1]
                   for region, size in one.volume_ml.items())  # fmt: skip
    alone = [np.log(one.volume_ml["WT"]) for one in wishes(64, steer=Steer(volume_ml={"WT": (1, 16)}))]
    assert np.histogram(alone, 4, (0, np.log(16)))[0].tolist() == [16] * 4


def test_nothing_is_wished_without_steering():
    assert wish_of(Steer(), REGIONS, 3, 0) == Wish() and str(Wish()) == "anything"
