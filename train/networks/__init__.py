"""Skeleton classifiers, made by name. Their state-dict names are those of the public networks."""

from collections.abc import Callable

from torch import nn

from skelanon.configs.training import Network

from .agcn import Agcn
from .ctr_gcn import CtrGcn
from .ms_g3d import MsG3d, MsG3dWithoutG3d
from .sgn import Sgn
from .shift_gcn import ShiftGcn
from .st_gcn import StGcn

__all__ = ["Agcn", "CtrGcn", "MsG3d", "MsG3dWithoutG3d", "Sgn", "ShiftGcn", "StGcn", "create_network"]

_NETWORKS: dict[Network, Callable[[int, int], nn.Module]] = {
    "ms_g3d": MsG3d,
    "ms_g3d_without_g3d": MsG3dWithoutG3d,
    "shift_gcn": ShiftGcn,
    "agcn": Agcn,
    "st_gcn": StGcn,
    "ctr_gcn": CtrGcn,
    "sgn": Sgn,
}


def create_network(name: Network, classes: int, bodies: int) -> nn.Module:
    """A new network: clips (N, 3, T, 25, M = bodies) float32, metres, zeros where nobody is, to logits (N, classes)."""
    return _NETWORKS[name](classes, bodies)
