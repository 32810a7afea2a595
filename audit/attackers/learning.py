"""Attackers that are networks: trained until their own validation sequences say that nothing improves any more."""

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from skelanon.audit.view import View
from skelanon.configs.auditing import AttackerSettings

from .attacker import Attacker, Course, Lesson, Scores
from .networks import TemporalCnn

_FALLS: Final = 2
"""How often the learning rate falls to a tenth, before a next plateau ends learning."""
_LEAST_STEPS: Final = 10
"""Of an epoch: of few sequences, each is seen several times."""
_SHORTEST: Final = 0.7
"""Share of a clip, at least, that one training sample spans."""
_LONGEST: Final = 2.5
"""The same at most, where bodies stand still before the clip and after it."""


class NetworkAttacker(Attacker):
    """A network that sees spans of `span` frames; of shorter spans than the clip it sees several, and they vote.

    see: what the network takes of a view, (N, T, ...). create: a new network for a number of outputs.
    """

    kind: ClassVar[str] = "clip"

    def __init__(
        self,
        see: Callable[[View], Tensor],
        create: Callable[[int], nn.Module],
        span: int | None,
        settings: AttackerSettings,
        seed: int,
    ) -> None:
        self._span, self._settings = span, settings
        cuda = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
        self._device = torch.device("cuda" if cuda else "cpu")
        self._sees, self._creates = see, create
        self._random = torch.Generator().manual_seed(seed)
        self._seed = seed
        self._scale = (0.0, 1.0)

    def learn(self, lesson: Lesson) -> Course:
        torch.manual_seed(self._seed)
        self._classes, self._longest = lesson.classes, _LONGEST if lesson.pauses else 1.0
        self.network = self._create(lesson.classes or 1)
        x, y = self._see(lesson.train), self._targets(lesson.train_targets, first=True)
        held, wanted = self._see(lesson.validation), self._targets(lesson.validation_targets)
        settings = self._settings
        optimizer = torch.optim.Adam(self.network.parameters(), settings.learning_rate, weight_decay=1e-4)
        best, state, best_epoch, falls, since = (-math.inf, -math.inf), self._state(), 0, 0, 0
        for epoch in range(1, settings.max_epochs + 1):
            self._epoch(x, y, optimizer, len(x) // lesson.draws)
            score = self._score(held, wanted)
            since += 1
            if _better(score, best):
                best, state, best_epoch, since = score, self._state(), epoch, 0
            if since < settings.patience:
                continue
            if falls == _FALLS:
                break
            falls, since = falls + 1, 0
            self.network.load_state_dict(state)
            for group in optimizer.param_groups:
                group["lr"] *= 0.1
        self.network.load_state_dict(state)
        return Course(converged=since >= settings.patience, epochs=best_epoch)

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        weights = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
        return {"network": weights, "scale": self._scale}

    def restore(self, state: dict[str, Any], classes: int) -> None:
        """Be as if it had just learned."""
        self._classes, self._scale = classes, tuple(state["scale"])
        self.network = self._create(classes or 1)
        self.network.load_state_dict(state["network"])

    def tell(self, view: View) -> Scores:
        mean, std = self._scale
        outputs = self._outputs(self._see(view)).cpu()
        scores: Scores = (outputs if self._classes else outputs * std + mean).numpy()
        return scores

    @torch.no_grad()
    def embed(self, view: View) -> Scores:
        """(N, D): what the network decides by, of whole clips; for networks that have `embed`."""
        self.network.eval()
        clips = torch.split(self._see(view), 64)
        embedded: Scores = torch.cat([cast(TemporalCnn, self.network).embed(some) for some in clips]).cpu().numpy()
        return embedded

    def _see(self, view: View) -> Tensor:
        return self._sees(view).to(self._device)

    def _create(self, outputs: int) -> nn.Module:
        return self._creates(outputs).to(self._device)

    def _targets(self, values: "np.typing.NDArray[np.generic]", first: bool = False) -> Tensor:
        if self._classes:
            return torch.from_numpy(np.asarray(values, np.int64)).to(self._device)
        numbers = torch.from_numpy(np.asarray(values, np.float32)).to(self._device)
        if first:
            self._scale = float(numbers.mean()), float(numbers.std().clamp_min(1e-6))
        return (numbers - self._scale[0]) / self._scale[1]

    def _epoch(self, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer, length: int) -> None:
        """See `length` of the samples, drawn at random; of few, each several times."""
        self.network.train()
        size, rounds = _steps(length, self._settings.batch_size)
        order = torch.cat([torch.randperm(len(x), generator=self._random)[:length] for _ in range(rounds)])
        for batch in order[: len(order) // size * size].reshape(-1, size):
            spans, repeats = self._spans(x[batch])
            loss = self._loss(self.network(spans), y[batch].repeat_interleave(repeats))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    def _spans(self, x: Tensor) -> tuple[Tensor, int]:
        """Training samples of clips (N, T, ...): random spans, and how many of each clip."""
        length = x.shape[1]
        if self._span is None:  # a part of the clip, or more than it, stretched to all of it
            share = _SHORTEST + (self._longest - _SHORTEST) * torch.rand(len(x), 1, generator=self._random)
            start = torch.rand(len(x), 1, generator=self._random) * (1 - share)
            frames = ((start + share * (torch.arange(length) + 0.5) / length) * length).long().clamp(0, length - 1)
            return x[torch.arange(len(x))[:, None], frames], 1
        repeats = max(1, min(4, length // self._span))
        start = torch.randint(length - self._span + 1, (len(x), repeats, 1), generator=self._random)
        frames = start + torch.arange(self._span)  # (N, repeats, span)
        return x[torch.arange(len(x))[:, None, None], frames].flatten(0, 1), repeats

    def _loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        return cross_entropy(outputs, wanted) if self._classes else mse_loss(outputs[:, 0], wanted)

    def _score(self, x: Tensor, wanted: Tensor) -> tuple[float, float]:
        """Accuracy, 0 of estimates, and minus the loss."""
        outputs = self._outputs(x)
        right = float(outputs.argmax(1).eq(wanted).float().mean()) if self._classes else 0.0
        return right, -float(self._loss(outputs, wanted))

    @torch.no_grad()
    def _outputs(self, x: Tensor) -> Tensor:
        """(N, classes) mean log-probabilities, or (N, 1) mean estimates, over all spans of each clip."""
        self.network.eval()
        length = x.shape[1]
        span = self._span or length
        starts = range(0, length - span + 1, max(1, span // 2))
        parts = []
        for some in torch.split(x, 64):
            each = torch.stack([self.network(some[:, start : start + span]) for start in starts])
            parts.append((each.log_softmax(2) if self._classes else each).mean(0))
        return torch.cat(parts)

    def _state(self) -> dict[str, Tensor]:
        return copy.deepcopy(self.network.state_dict())


def clips_in_an_epoch(clips: int, batch_size: int) -> int:
    """Clips that an epoch takes: all, or of few each several times."""
    return clips * _steps(clips, batch_size)[1]


def _steps(clips: int, batch_size: int) -> tuple[int, int]:
    """Clips of a step, and how often an epoch sees each of all clips."""
    size = min(batch_size, clips)
    return size, -(-_LEAST_STEPS // (clips // size))


def _better(score: tuple[float, float], best: tuple[float, float]) -> bool:
    """More right, or as much and a loss that is lower by a hundredth: it goes on falling a little for ever."""
    return score[0] > best[0] or (score[0] == best[0] and -score[1] < 0.99 * -best[1] - 1e-4)


class FrameAttacker(NetworkAttacker):
    """Sees single frames."""

    kind: ClassVar[str] = "frame"


class WindowAttacker(NetworkAttacker):
    """Sees a quarter of a clip."""

    kind: ClassVar[str] = "window"
