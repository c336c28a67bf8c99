"""Weights on disk: safetensors only, never a pickle."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from synthgate.errors import ArtefactError

NAME = "model.safetensors"


def save(network: nn.Module, folder: Path) -> None:
    """Write the network's weights to `folder/model.safetensors`."""
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / NAME)


def load(network: nn.Module, folder: Path) -> nn.Module:
    """Fill the network from `folder/model.safetensors` and set it to evaluation; raises ArtefactError."""
    path = folder / NAME
    try:
        network.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing; rebuild it with `dvc repro`") from None
    except (SafetensorError, RuntimeError) as error:
        raise ArtefactError(f"{path} does not fit the network ({error}); rebuild it with `dvc repro`") from error
    return network.eval()
