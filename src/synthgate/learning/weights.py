"""Weights on disk: safetensors only, never a pickle."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from synthgate.errors import ArtefactError

NAME = "model.safetensors"


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """Name → tensor, each once: MONAI's networks hold some parts under two names. The same weights, the same order."""
    once: dict[int, str] = {}
    state = network.state_dict()
    for name in sorted(state):
        once.setdefault(state[name].data_ptr(), name)
    return {name: state[name].contiguous() for name in once.values()}


def save(network: nn.Module, folder: Path, name: str = NAME) -> None:
    """Write the network's weights to the file `name` in `folder`."""
    save_file(tensors(network), folder / name)


def load(network: nn.Module, folder: Path, name: str = NAME) -> nn.Module:
    """Fill the network from the file `name` in `folder` and set it to evaluation; raises ArtefactError."""
    path = folder / name
    try:
        found = load_file(path)
        if found.keys() != tensors(network).keys():
            raise ArtefactError(f"{path} is of another network; rebuild it with `dvc repro`")
        network.load_state_dict(found, strict=False)
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing; rebuild it with `dvc repro`") from None
    except (SafetensorError, RuntimeError) as error:
        raise ArtefactError(f"{path} does not fit the network ({error}); rebuild it with `dvc repro`") from error
    return network.eval()
