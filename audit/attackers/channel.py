"""One side channel alone: gradient boosting on its features."""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from skelanon.audit.view import Floats, View

from .trees import TreesAttacker

_MANY_FEATURES: Final = 128
"""Of more, only the half of them is used that, each alone, tells most of what is learned from."""


class ChannelAttacker(TreesAttacker):
    """Sees nothing but `view.channels[name]`."""

    kind: ClassVar[str] = "channel"

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(seed)
        self._name = name

    def features(self, view: View) -> Floats:
        return view.channels[self._name]

    def columns(self, features: Floats, targets: NDArray[np.generic]) -> NDArray[np.int64]:
        return _telling(features, targets, self._classes > 0)


def _telling(features: Floats, targets: NDArray[np.generic], classes: bool) -> NDArray[np.int64]:
    """Columns that are worth a look: all that vary, or of many those with the largest share of variance explained."""
    varying = np.flatnonzero(np.ptp(features, 0) > 0)
    if len(varying) <= _MANY_FEATURES:
        return varying if len(varying) else np.zeros(1, np.int64)
    x = features[:, varying].astype(np.float64)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    if classes:
        of_class = np.unique(targets, return_inverse=True)[1]
        member = np.eye(of_class.max() + 1)[of_class]  # (N, classes)
        explained = np.square(member.T @ x / np.sqrt(member.sum(0))[:, None]).sum(0)
    else:
        explained = np.square((targets.astype(np.float64) - targets.astype(np.float64).mean()) @ x)
    most = np.argsort(-explained, kind="stable")[: _MANY_FEATURES // 2]
    return np.sort(varying[most])
