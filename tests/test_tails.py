"""The extrapolated tail against the law it was drawn from."""

import numpy as np
import pytest

from synthgate.stats.tails import tail_limit


@pytest.mark.parametrize("size", [24, 46, 76, 200])
def test_a_share_of_fresh_values_exceeds_it_as_promised_however_few_values_it_is_known_by(size):
    rng = np.random.default_rng(size)
    rates = [np.exp(-tail_limit(rng.exponential(size=size), 1e-3)) for _ in range(10000)]
    assert np.mean(rates) == pytest.approx(1e-3, rel=0.12)


def test_it_is_at_least_the_empirical_quantile():
    values = np.append(np.linspace(0, 1, 99), 50.0)
    assert tail_limit(values, 0.001) >= 50


def test_a_smaller_rate_gives_a_higher_limit_and_constants_their_value():
    values = np.random.default_rng(1).random(40)
    assert tail_limit(values, 1e-4) > tail_limit(values, 1e-2)
    assert tail_limit(np.ones(20), 1e-3) == 1


def test_too_few_values_are_undefined():
    assert tail_limit(np.arange(7), 0.01) is None
    assert tail_limit(np.array([]), 0.01) is None
    assert tail_limit(np.arange(8), 0.01) == pytest.approx(tail_limit(np.arange(8)[::-1], 0.01))
