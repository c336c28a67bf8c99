import numpy as np
import pytest
from scipy import stats

from synthgate.stats import multinomial
from synthgate.stats.multinomial import multinomial_p

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("hits", "n", "share"), [(3, 10, 0.5), (0, 8, 0.2), (7, 9, 0.4), (5, 5, 0.9)])
def test_two_groups_are_the_exact_binomial_test(hits, n, share):
    found = multinomial_p(np.array([hits, n - hits]), np.array([share, 1 - share]), RNG)
    assert found == pytest.approx(stats.binomtest(hits, n, share).pvalue, rel=1e-6)


def test_three_groups_by_brute_force():
    shares, counts = np.array([0.5, 0.3, 0.2]), np.array([2, 1, 4])
    likely = {(a, b): stats.multinomial.pmf([a, b, 7 - a - b], 7, shares) for a in range(8) for b in range(8 - a)}
    expected = sum(value for value in likely.values() if value <= likely[2, 1] * (1 + 1e-9))
    assert multinomial_p(counts, shares, RNG) == pytest.approx(expected)


def test_drawing_agrees_with_enumerating(monkeypatch):
    counts, shares = np.array([12, 4, 4]), np.array([0.4, 0.3, 0.3])
    exact = multinomial_p(counts, shares, RNG)
    monkeypatch.setattr(multinomial, "MOST", 200)
    drawn = [multinomial_p(counts, shares, np.random.default_rng(seed)) for seed in range(60)]
    assert np.mean(drawn) == pytest.approx(exact, abs=0.02)


def test_what_nobody_wished_for_is_impossible():
    assert multinomial_p(np.array([3, 1]), np.array([1.0, 0.0]), RNG) == pytest.approx(0)


def test_degenerate():
    assert multinomial_p(np.array([0, 0]), np.array([0.5, 0.5]), RNG) is None
    assert multinomial_p(np.array([4]), np.array([1.0]), RNG) == 1
    with pytest.raises(ValueError, match="sum to 1"):
        multinomial_p(np.array([1, 1]), np.array([0.5, 0.6]), RNG)
