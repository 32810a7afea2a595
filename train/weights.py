"""Reading weights that others published or an earlier version wrote: plain tensors by name."""

import os
from collections import OrderedDict

import torch
from torch import Tensor, nn

from .checkpoint import load_state
from .errors import CheckpointError


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a state dict by name, on the CPU. Nothing in the file is executed.

    Raises CheckpointError: unreadable, or not a dictionary of tensors.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint: {error.strerror}") from error
    except Exception as error:
        raise CheckpointError(f"not a checkpoint of plain weights ({type(error).__name__})") from error
    if not isinstance(weights, (dict, OrderedDict)) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise CheckpointError("not a checkpoint of plain weights: it must be a dictionary of tensors")
    return weights


def load_weights(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a public state dict into a network, strictly.

    Names may have the prefix `module.` of parallel training; constants of the network that it builds itself may be
    there as well. Raises CheckpointError: unreadable, or of another architecture.
    """
    weights = {name.removeprefix("module."): tensor for name, tensor in read_weights(path).items()}
    constants = dict(network.named_buffers()).keys() - network.state_dict().keys()
    load_state(network, {name: weights[name] for name in weights.keys() - constants}, os.fspath(path))
