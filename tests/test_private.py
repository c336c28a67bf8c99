"""Private training: the accountant against closed forms, and what one patient can do to a step."""

import math
import stat

import numpy as np
import pytest
import torch
from opacus.accountants import PRVAccountant, RDPAccountant
from scipy.optimize import brentq
from scipy.stats import norm
from torch import nn

from synthgate.errors import ParamsError
from synthgate.generators.private import Secret, claim, epsilon, planned, refuse_mixing, step_gradient
from synthgate.params import Privacy

PRIVACY = Privacy(epsilon=4.0, delta=1e-3, clip=0.5, patients=8)
PATIENTS = [f"p{number:02d}" for number in range(32)]
SECRET = Secret(b"a key that is known, for tests")
ORDERS = np.array(RDPAccountant.DEFAULT_ALPHAS)


# --- the accountant


def closed_form(sigma, steps, delta):
    """ε of the Gaussian mechanism: RDP α / 2σ² a step (Mironov 2017), converted by Balle et al. 2020, theorem 21."""
    return (
        steps * ORDERS / (2 * sigma**2) + np.log1p(-1 / ORDERS) - (np.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    ).min()


def analytic(sigma, steps, delta):
    """ε of the Gaussian mechanism, exact (Balle and Wang 2018, theorem 8)."""
    mu = math.sqrt(steps) / sigma
    return brentq(
        lambda e: norm.cdf(mu / 2 - e / mu) - math.exp(e + norm.logcdf(-mu / 2 - e / mu)) - delta, 0, 500, xtol=1e-9
    )


@pytest.mark.parametrize("delta", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize(("sigma", "steps"), [(1.0, 1), (4.0, 1), (5.0, 100), (40.0, 1000), (20.0, 2000)])
def test_where_all_patients_are_in_every_step_epsilon_is_the_closed_form(sigma, steps, delta):
    spent = epsilon(sigma, 1.0, steps, delta)
    assert spent == pytest.approx(closed_form(sigma, steps, delta), rel=1e-9)
    exact = analytic(sigma, steps, delta)
    assert exact < spent < 1.2 * exact + 0.05  # an upper bound, and near


@pytest.mark.parametrize(("alpha", "rate", "sigma"), [(2, 0.1, 1.0), (8, 0.25, 2.0), (2.5, 0.25, 1.5), (16, 0.5, 4.0)])
def test_what_sampling_gains_is_the_integral(alpha, rate, sigma):
    """RDP of the sampled Gaussian mechanism (Mironov et al. 2019, §3): log E_N(0,σ²) ((1-q) + q e^((2x-1)/2σ²))^α."""
    from opacus.accountants.analysis.rdp import compute_rdp

    x = np.linspace(-12 * sigma, 12 * sigma + alpha, 200_001)
    values = norm.pdf(x, 0, sigma) * (1 - rate + rate * np.exp((2 * x - 1) / (2 * sigma**2))) ** alpha
    expected = math.log(np.trapezoid(values, x)) / (alpha - 1)
    found = compute_rdp(q=rate, noise_multiplier=sigma, steps=1, orders=float(alpha))
    assert found == pytest.approx(expected, rel=1e-6)


def test_epsilon_bounds_that_of_another_accountant_and_is_near():
    other = PRVAccountant()
    other.history = [(2.5, 0.1, 1000)]
    tighter = other.get_epsilon(1e-4)
    assert tighter < epsilon(2.5, 0.1, 1000, 1e-4) < 1.25 * tighter


@pytest.mark.parametrize("wish", [0.3, 4.0, 40.0])
def test_a_plan_spends_what_was_wished_and_hardly_less(wish):
    plan = planned(Privacy(wish, 1e-3, 1.0, 8), PATIENTS, 300)
    assert plan.rate == 0.25
    spent = plan.facts(300)["epsilon"]
    assert 0.98 * wish - 0.01 <= spent <= wish
    assert epsilon(0.95 * plan.noise_multiplier, 0.25, 300, 1e-3) > wish
    assert plan.facts(150)["epsilon"] < spent


def test_facts_say_what_is_claimed_and_what_is_not():
    facts = planned(PRIVACY, PATIENTS, 100).facts(100)
    assert (facts["unit"], facts["adjacency"], facts["rate"], facts["steps"]) == (
        "patient", "one added or removed", 0.25, 100,
    )  # fmt: skip
    assert facts["claim"] == claim(facts["epsilon"], 1e-3)
    assert "weights only, not the anatomies, styles and attributes" in facts["claim"]
    assert "ε = 2.35 at δ = 0.001" in claim(2.341, 1e-3)  # rounded up: a claim never says less than was spent


@pytest.mark.parametrize(("privacy", "patients", "told"), [
    (Privacy(4.0, 1 / 32, 1.0, 8), PATIENTS, r"privacy\.delta: expected less than 1 / 32"),
    (Privacy(4.0, 1e-3, 1.0, 33), PATIENTS, r"privacy\.patients: expected at most the 32 patients"),
    (Privacy(4.0, 1e-3, 1.0, 8), PATIENTS[:5] * 4, r"privacy\.patients: expected at most the 5 patients"),
], ids=["delta", "patients", "cases are no patients"])  # fmt: skip
def test_wishes_that_cannot_be_are_refused(privacy, patients, told):
    with pytest.raises(ParamsError, match=told):
        planned(privacy, patients, 100)


def test_an_epsilon_out_of_reach_is_refused_with_one_in_reach():
    with pytest.raises(ParamsError, match=r"privacy\.epsilon: 0\.01 is out of reach at δ = 1e-07") as error:
        planned(Privacy(0.01, 1e-7, 1.0, 8), PATIENTS, 100)
    reachable = float(str(error.value).partition("reachable is ")[2].split()[0])
    assert planned(Privacy(reachable + 0.01, 1e-7, 1.0, 8), PATIENTS, 100).facts(100)["epsilon"] <= reachable + 0.01


# --- one patient's influence


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 1, 3))


def slices_of(patient):
    """Between 1 and 12 slices of a patient."""
    rng = np.random.default_rng(PATIENTS.index(patient))
    return torch.from_numpy(rng.normal(0, 3, (1 + 11 * (PATIENTS.index(patient) % 2), 1, 9, 9)).astype(np.float32))


def loss_of(network, size=1e6):
    return lambda patient: size * network(slices_of(patient)).square().mean()


def summed(network, loss, drawn, clip=0.5, noise=0.0, seed=0, expected=1.0):
    step_gradient(
        loss, network.parameters(), drawn, clip=clip, noise_multiplier=noise, expected=expected,
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return torch.cat([p.grad.flatten().double() for p in network.parameters()])


@pytest.mark.parametrize("patient", PATIENTS[:4])
def test_a_patient_moves_the_sum_by_at_most_the_clip_norm(network, patient):
    loss = loss_of(network)
    whole = summed(network, loss, PATIENTS[:6])
    without = summed(network, loss, [one for one in PATIENTS[:6] if one != patient])
    assert 0.49 < (whole - without).norm() < 0.5 * (1 + 1e-5)  # huge losses: the bound is reached


def test_clipping_slice_by_slice_would_not_bound_a_patient(network):
    """As Opacus clips: the bound above is one that a test can miss."""
    many = PATIENTS[1]
    moved = torch.zeros(sum(p.numel() for p in network.parameters()), dtype=torch.float64)
    for one in slices_of(many):
        moved += summed(network, lambda _, one=one: 1e6 * network(one[None]).square().mean(), [many])
    assert moved.norm() > 2 * 0.5


def test_small_gradients_are_summed_as_they_are(network):
    drawn = PATIENTS[:5]
    found = summed(network, loss_of(network, 1.0), drawn, clip=1e9, expected=8)
    sum(loss_of(network, 1.0)(patient) for patient in drawn).backward()  # adds to .grad
    both = torch.cat([p.grad.flatten().double() for p in network.parameters()])
    torch.testing.assert_close(both - found, 8 * found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_moves_nothing(network, broken):
    loss = loss_of(network)
    whole = summed(network, lambda patient: loss(patient) * (broken if patient == "p03" else 1), PATIENTS[:6])
    without = summed(network, loss, [one for one in PATIENTS[:6] if one != "p03"])
    assert torch.equal(whole, without) and whole.isfinite().all()


def test_a_patient_cannot_be_in_a_step_twice(network):
    with pytest.raises(ValueError, match="each patient once"):
        summed(network, loss_of(network), ["p00", "p01", "p00"])


def test_parameters_that_do_not_learn_get_nothing_and_unused_ones_get_noise(network):
    network[0].weight.requires_grad_(False)
    unused = nn.Parameter(torch.zeros(1000))
    step_gradient(
        loss_of(network), [*network.parameters(), unused], PATIENTS[:2], clip=0.5, noise_multiplier=2.0, expected=1,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert network[0].weight.grad is None
    assert unused.grad.std() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(8), nn.InstanceNorm2d(8, track_running_stats=True)])
def test_layers_that_mix_samples_are_refused(network, layer):
    refuse_mixing(nn.Sequential(network, nn.InstanceNorm2d(8), nn.GroupNorm(2, 8)))
    with pytest.raises(ParamsError, match=rf"got {type(layer).__name__} at 1; use group normalisation"):
        refuse_mixing(nn.Sequential(network, layer))


# --- noise, draws and their secret


@pytest.mark.parametrize("drawn", [[], PATIENTS[:3]], ids=["empty draw", "three patients"])
def test_the_noise_has_the_documented_standard_deviation(drawn):
    network = nn.Conv2d(1, 2000, 3)
    loss = loss_of(network)
    noise = summed(network, loss, drawn, 0.5, 3.0, 1, 8) - summed(network, loss, drawn, 0.5, 0.0, 1, 8)
    assert len(noise) == 20_000
    assert noise.std() == pytest.approx(3.0 * 0.5 / 8, rel=4 / math.sqrt(2 * 20_000))
    assert abs(noise.mean()) < 4 * 3.0 * 0.5 / 8 / math.sqrt(20_000)


def test_patients_are_drawn_each_on_their_own_with_the_rate():
    plan, steps = planned(PRIVACY, PATIENTS, 100), 4000
    drawn = [plan.drawn(step, SECRET) for step in range(steps)]
    here = np.array([[patient in one for patient in PATIENTS] for one in drawn])
    deviation = math.sqrt(0.25 * 0.75 / steps)
    assert abs(here.mean(0) - 0.25).max() < 4.5 * deviation
    assert abs(here.mean() - 0.25) < 4 * deviation / math.sqrt(len(PATIENTS))
    # sizes are binomial, not fixed; and a patient's draw says nothing of another's
    assert here.sum(1).var() == pytest.approx(32 * 0.25 * 0.75, rel=0.1)
    assert abs(np.corrcoef(here.T) - np.eye(32)).max() < 5 / math.sqrt(steps)


def test_an_empty_draw_is_a_step_of_noise():
    plan = planned(Privacy(4.0, 1e-3, 0.5, 1), PATIENTS[:2], 100)
    step = next(step for step in range(100) if not plan.drawn(step, SECRET))
    layer = nn.Linear(50, 50)
    plan.gradient(lambda _: pytest.fail("nobody was drawn"), layer.parameters(), step, SECRET)
    assert layer.weight.grad.std() == pytest.approx(plan.noise_multiplier * 0.5, rel=0.1)


def test_a_step_is_a_function_of_secret_and_step(network):
    plan = planned(PRIVACY, PATIENTS, 100)

    def gradient(step, secret):
        plan.gradient(loss_of(network), network.parameters(), step, secret)
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    first = gradient(3, SECRET)
    gradient(4, SECRET)
    assert torch.equal(gradient(3, Secret(SECRET.key)), first)
    assert not torch.equal(gradient(4, SECRET), first)
    assert not torch.equal(gradient(3, Secret(b"another")), first)
    assert not np.array_equal(SECRET.rng("patients", 3).random(5), SECRET.rng("noise", 3).random(5))


def test_no_step_has_the_noise_of_another():
    plan, weight = planned(PRIVACY, PATIENTS, 100), nn.Parameter(torch.zeros(2000))
    noise = []
    for step in range(3):
        plan.gradient(lambda _: 0 * weight.sum(), [weight], step, SECRET)
        noise.append(weight.grad.clone().numpy())
    assert abs(np.corrcoef(noise) - np.eye(3)).max() < 5 / math.sqrt(2000)


def test_the_secret_is_kept_for_resuming_and_told_to_nobody(tmp_path):
    secret = Secret.kept(tmp_path / "secret")
    assert Secret.kept(tmp_path / "secret") == secret and len(secret.key) == 32
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert secret.key != Secret.kept(tmp_path / "other").key
    assert "key" not in repr(secret)


# --- training


def test_training_with_a_plan_learns():
    """Many patients and little noise: the noisy mean gradient leads where the mean gradient does."""
    patients = [f"p{number}" for number in range(400)]
    plan = planned(Privacy(20.0, 1e-4, 1.0, 200), patients, 200)
    weight = nn.Parameter(torch.zeros(3))
    goal = torch.tensor([1.0, -2.0, 0.5])
    optimiser = torch.optim.SGD([weight], lr=0.1)
    for step in range(200):
        plan.gradient(lambda _: (weight - goal).square().sum(), [weight], step, SECRET)
        optimiser.step()
    torch.testing.assert_close(weight.detach(), goal, rtol=0, atol=0.1)
