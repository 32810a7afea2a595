"""Classifiers of clips of codes: they tell actions, or persons, from which codes were named when."""

from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

Kind = Literal["recurrent", "convolutional", "linear"]
_KINDS: Final[tuple[Kind, ...]] = ("recurrent", "convolutional", "linear")
_WIDTH: Final = 64


class CodeClassifier(nn.Module):
    """(N, W, K) one-hot codes and (N, W), 1 where there is one, to (N, classes) logits.

    `recurrent` reads them in both directions, `convolutional` five in a row; `linear` counts them in each third.
    """

    @staticmethod
    def kind_of(number: int) -> Kind:
        """Several are of different kinds."""
        return _KINDS[number % len(_KINDS)]

    def __init__(self, kind: Kind, codes: int, classes: int) -> None:
        super().__init__()
        self._kind: Kind = kind
        if kind == "recurrent":
            self.read: nn.Module = nn.GRU(codes, _WIDTH, batch_first=True, bidirectional=True)
            wide = 2 * _WIDTH
        elif kind == "convolutional":
            self.read = nn.Sequential(
                nn.Conv1d(codes, 2 * _WIDTH, 3, padding=1),
                nn.ReLU(),
                nn.Conv1d(2 * _WIDTH, 2 * _WIDTH, 3, padding=1),
                nn.ReLU(),
            )
            wide = 4 * _WIDTH
        else:
            self.read = nn.Sequential(nn.Linear(3 * codes, 2 * _WIDTH), nn.ReLU())
            wide = 2 * _WIDTH
        self.tell = nn.Sequential(nn.Dropout(0.2), nn.Linear(wide, classes))

    def forward(self, codes: Tensor, there: Tensor) -> Tensor:
        codes, count = codes * there[..., None], there.sum(1, keepdim=True).clamp_min(1)
        if self._kind == "recurrent":
            read = self.read(codes)[0] * there[..., None]
            features = read.sum(1) / count
        elif self._kind == "convolutional":
            read = self.read(codes.transpose(1, 2)).transpose(1, 2) * there[..., None]  # after a ReLU: nothing below 0
            features = torch.cat([read.sum(1) / count, read.amax(1)], 1)
        else:
            place = (torch.arange(codes.shape[1], device=codes.device) * 3) // count  # (N, W): third of the clip
            thirds = [(codes * (place == third)[..., None]).sum(1) / count for third in range(3)]
            features = self.read(torch.cat(thirds, 1))
        logits: Tensor = self.tell(features)
        return logits

    def reset(self) -> None:
        """Forget everything."""
        for module in self.modules():
            if isinstance(module, nn.GRU | nn.Conv1d | nn.Linear):
                module.reset_parameters()


class CodePredictor(nn.Module):
    """(N, W, K) one-hot codes and (N,) actions to (N, W, K) log-probabilities: of each code, by the action and those
    before it. What it cannot predict is what codes say beside the action.
    """

    def __init__(self, codes: int, actions: int) -> None:
        super().__init__()
        self._actions = actions
        self.follow = nn.GRU(codes + actions, _WIDTH, batch_first=True)
        self.expect = nn.Sequential(nn.Dropout(0.2), nn.Linear(_WIDTH, codes))

    def forward(self, codes: Tensor, action: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(codes[:, :1]), codes[:, :-1]], 1)
        known = one_hot(action, self._actions).to(codes)[:, None].expand(-1, codes.shape[1], -1)
        logits: Tensor = self.expect(self.follow(torch.cat([before, known], 2))[0])
        return logits.log_softmax(2)
