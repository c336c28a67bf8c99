"""Private training: DP-SGD (Abadi et al. 2016, doi:10.1145/2976749.2978318) with the patient as its unit.

A step draws patients, takes one gradient of each over all that is shown of that patient, clips it, sums, adds noise.
Opacus counts what that costs; its own clipping is per sample and is not used. docs/private.md says what is claimed.

Noise that can be drawn again from a seed in `params.yaml` can be subtracted: here randomness comes from a `Secret`. So
a private generator is not reproduced byte for byte; the rest of the road is.
"""

import contextlib
import hmac
import math
import secrets
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from synthgate.errors import ParamsError
from synthgate.files import replacing
from synthgate.params import Privacy

ACCOUNTANT = "rdp"
"""Of Opacus: an upper bound in closed form, where `prv`, about a tenth tighter, is numerical."""
MOST_NOISE = 1e6
"""Noise multiplier beyond which Opacus gives up."""


@dataclass(frozen=True)
class Secret:
    """Where the draws and the noise of a private training come from; whoever has the key can take the noise off."""

    key: bytes = field(repr=False)

    @classmethod
    def kept(cls, path: Path) -> "Secret":
        """The key in the file `path`, made from the system's entropy where there is none yet.

        Keep it in scratch, so that a killed training continues with the same noise, and delete it with the checkpoint.
        """
        if not path.exists():
            with replacing(path) as beside:
                beside.touch(mode=0o600)
                beside.write_bytes(secrets.token_bytes(32))
        return cls(path.read_bytes())

    def rng(self, *place: int | str) -> np.random.Generator:
        """The generator of one place, as ("noise", step): what is drawn elsewhere moves nothing here.

        Not torch's: on the CPU that one uses 32 bits of its seed, few enough to try them all.
        """
        return np.random.default_rng(int.from_bytes(hmac.digest(self.key, repr(place).encode(), "sha256"), "big"))


@dataclass(frozen=True)
class Plan:
    """A private training, settled before its first step; make it with `planned`."""

    privacy: Privacy
    patients: tuple[str, ...]
    """Those the weights learn from."""
    noise_multiplier: float
    """Standard deviation of the noise on the sum of gradients, in units of the clip norm."""

    @property
    def rate(self) -> float:
        """Probability of each patient to be drawn in a step."""
        return self.privacy.patients / len(self.patients)

    def drawn(self, step: int, secret: Secret) -> tuple[str, ...]:
        """The patients of a step, each drawn on its own with probability `rate`: any number of them, or none."""
        chosen = secret.rng("patients", step).random(len(self.patients)) < self.rate
        return tuple(patient for patient, here in zip(self.patients, chosen, strict=True) if here)

    def gradient(
        self, loss_of: Callable[[str], Tensor], parameters: Iterable[nn.Parameter], step: int, secret: Secret
    ) -> None:
        """Draw the patients of a step and write its noisy gradient to the parameters' `.grad`; see `step_gradient`."""
        step_gradient(
            loss_of, parameters, self.drawn(step, secret), clip=self.privacy.clip,
            noise_multiplier=self.noise_multiplier, expected=self.privacy.patients, rng=secret.rng("noise", step),
        )  # fmt: skip

    def facts(self, steps: int) -> dict[str, Any]:
        """What `facts["privacy"]` of a card says after `steps` steps."""
        spent = epsilon(self.noise_multiplier, self.rate, steps, self.privacy.delta)
        public, delta = self.privacy.public, self.privacy.delta
        facts: dict[str, Any] = {
            "epsilon": spent, "delta": delta, "unit": "patient", "adjacency": "one added or removed",
            "accountant": f"opacus {ACCOUNTANT}", "noise_multiplier": self.noise_multiplier,
            "clip": self.privacy.clip, "rate": self.rate, "steps": steps,
            "claim": claim(spent, delta, public is not None),
        }  # fmt: skip
        return facts | ({"public": asdict(public)} if public else {})


def planned(privacy: Privacy, patients: Sequence[str], steps: int) -> Plan:
    """The plan that spends at most `privacy.epsilon` in `steps` steps on `patients`.

    Raises ParamsError where more patients a step are asked for than there are, δ is not below 1 / patients, or no
    noise reaches ε.
    """
    people = tuple(dict.fromkeys(patients))
    if privacy.patients > len(people):
        raise ParamsError(
            f"privacy.patients: expected at most the {len(people)} patients that the weights learn from, "
            f"got {privacy.patients}; change it in the generator's row of params.yaml"
        )
    if privacy.delta >= 1 / len(people):
        raise ParamsError(
            f"privacy.delta: expected less than 1 / {len(people)} patients, else publishing one of them whole would be "
            f"private too, got {privacy.delta:g}; change it in the generator's row of params.yaml"
        )
    return Plan(privacy, people, _noise_multiplier(privacy, privacy.patients / len(people), steps))


def epsilon(noise_multiplier: float, rate: float, steps: int, delta: float) -> float:
    """ε at `delta` after `steps` steps, in each of which a patient is drawn with probability `rate`."""
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise_multiplier, rate, steps)]
    with _quiet():
        return max(0.0, accountant.get_epsilon(delta))


def _noise_multiplier(privacy: Privacy, rate: float, steps: int) -> float:
    from opacus.accountants.utils import get_noise_multiplier

    try:
        with _quiet():
            return get_noise_multiplier(
                target_epsilon=privacy.epsilon, target_delta=privacy.delta, sample_rate=rate, steps=steps,
                accountant=ACCOUNTANT, epsilon_tolerance=min(0.01, privacy.epsilon / 100),
            )  # fmt: skip
    except ValueError as error:
        least = epsilon(MOST_NOISE, rate, steps, privacy.delta)
        raise ParamsError(
            f"privacy.epsilon: {privacy.epsilon:g} is out of reach at δ = {privacy.delta:g}, rate {rate:.3g} and "
            f"{steps} steps ({error}); reachable is {_upwards(least)} or more, with ever more noise: ask for a larger "
            f"ε, or fewer steps or patients a step, in the generator's row of params.yaml"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Opacus's hint that another order might bound tighter: the bound holds all the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the (smallest|largest) alpha")
        yield


def claim(spent: float, delta: float, public: bool = False) -> str:
    """What is claimed, and what is not; `public` where nothing but the weights was taken from patients."""
    covered = (
        "This covers the generator's weights only, not the anatomies, styles and attributes taken from patients; "
        "what is pooled over patients to train the weights (clusters, usual styles) is taken as given."
    )
    if public:
        covered = (
            "Anatomies, styles and attributes come from a public source, so this covers its images too, however "
            "many; not their cards, nor what the gate says of them."
        )
    return (
        f"The generator's weights are differentially private with ε = {_upwards(spent)} at δ = {delta:g} for each "
        f"patient, added or removed with all cases. {covered}"
    )


def _upwards(spent: float) -> str:
    return f"{math.ceil(spent * 100) / 100:.2f}"


def refuse_mixing(network: nn.Module) -> None:
    """Raise ParamsError where a layer mixes samples, or keeps running statistics, which get into weights unclipped."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) or (isinstance(module, _NormBase) and module.track_running_stats):
            raise ParamsError(
                f"private training: expected layers that treat each sample on its own, got {type(module).__name__} at "
                f"{name or 'the top'}; use group normalisation, or leave privacy out of the generator's row"
            )


def step_gradient(
    loss_of: Callable[[str], Tensor],
    parameters: Iterable[nn.Parameter],
    drawn: Sequence[str],
    *,
    clip: float,
    noise_multiplier: float,
    expected: float,
    rng: np.random.Generator,
) -> None:
    """Write (Σ_p g_p · min(1, clip / |g_p|) + N(0, (noise_multiplier · clip)²)) / expected to `.grad`.

    g_p is the gradient of `loss_of(p)`, the mean loss over all samples of patient p in this step. So one patient moves
    the sum by at most `clip`, provided that a loss depends on its own patient only: randomness in it must come from
    (step, patient), not from a stream that the patients share, where leaving one out changes the others'. A gradient
    that is not finite counts as 0. `expected` is the expected number of patients, not that of this draw, which is
    private. Nothing is returned: losses are not private. Raises ValueError where a patient is drawn twice.
    """
    if len(set(drawn)) != len(drawn):
        raise ValueError(f"expected each patient once, with all samples in one loss; got {list(drawn)}")
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    total = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in learning]
    for patient in drawn:
        found = torch.autograd.grad(loss_of(patient), learning, allow_unused=True)
        parts = [(place, part) for place, part in zip(total, found, strict=True) if part is not None]
        norm = math.hypot(*(float(torch.linalg.vector_norm(part, dtype=torch.float64)) for _, part in parts))
        if math.isfinite(norm):
            for place, part in parts:
                place.add_(part, alpha=clip / max(norm, clip))
    for parameter, place in zip(learning, total, strict=True):
        noise = torch.from_numpy(rng.standard_normal(tuple(place.shape), dtype=np.float32)).to(place.device)
        parameter.grad = (place.add_(noise, alpha=noise_multiplier * clip) / expected).to(parameter.dtype)
