"""Training of motion tokens: codes that tell the action and, beside it, next to nothing; drawn as everybody does it.

What is drawn is compared with the typical course of the action, not with what was seen: so nothing is gained by codes
that say how somebody does it. Attackers see codes, not bodies: what is drawn follows from codes, so nobody who sees
bodies can know more, and codes are learned from a hundred times faster.
"""

from typing import Final, NamedTuple, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

from skelanon.configs.training import TokensRun
from skelanon.sensors.joints import JOINTS

from .anonymizers.facing import Facing
from .anonymizers.tokens import Coded, Standing, TokenNetwork
from .clip_of_codes import CodeClassifier, CodePredictor
from .data.clips import Batch
from .data.splits import Split, classes_of
from .data.store import SkeletonDataset
from .losses import kl_from_prior, prior_of
from .stream_of_clips import Stream, augmented, halves, stream_of, wanted
from .task import Learner, Sums, Task, step_together, targets, top_k
from .typical_course import typical_course

_GROWS = 20
"""Epochs in which alpha and surprise grow from nothing."""
_STEEPEST = 1.0
"""Gradients are clipped to this norm: memory over a hundred frames has steep ones."""
_BONE_M = 0.2
_MOVES_M = 0.1
_RESTS: Final = 4
"""Windows at most between two clips; before the first one, one less."""


class Told(NamedTuple):
    """Of 2N clips, in N streams of two."""

    action: Tensor
    """(2N, classes) logits, of codes."""
    hint: Tensor
    """The same, of what the encoder knows at each clip's end."""
    expected: Tensor
    """(2N, W, K) log-probabilities of codes, by the true action and the codes before."""


class Recognizer(nn.Module):
    """Tells actions from codes, and from what the encoder knows; and codes from actions."""

    def __init__(self, codes: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.of_codes = CodeClassifier("recurrent", codes, classes)
        self.of_encoder = nn.Linear(hidden, classes)
        self.codes = CodePredictor(codes, classes)

    def forward(self, codes: Tensor, named: Tensor, hidden: Tensor, action: Tensor) -> Told:
        return Told(self.of_codes(codes, named), self.of_encoder(hidden), self.codes(codes.detach(), action))


class _Pairs(NamedTuple):
    """N streams of two clips each; of these 2N, all first ones come first."""

    stream: Stream
    there: Tensor
    """(2N,), how many windows each clip has."""
    onset: Tensor
    """(N, 2), frames from the beginning of each clip until it moves."""
    action: Tensor
    person: Tensor
    """(2N,) class numbers."""


class _Seen(NamedTuple):
    """What becomes of them."""

    coded: Coded
    codes: Tensor
    """(2N, W, K)."""
    there: Tensor
    """(2N, W), 1 where a code is a clip's own."""
    drawn: Tensor
    """(N, S, 72)."""
    told: Told


class TokensTask(Task):
    """Minimises the objective; each step of the anonymizer follows some of every attacker."""

    def __init__(self, run: TokensRun, dataset: SkeletonDataset, parts: Split) -> None:
        self._run = run
        self.classes = {
            "action": classes_of(dataset, run.data.action, parts, "data.action"),
            "private": classes_of(dataset, run.data.private, parts, "data.private"),
        }
        actions, persons = len(self.classes["action"]), len(self.classes["private"])
        form = run.tokens
        network = TokenNetwork(form)
        attackers = (
            CodeClassifier(CodeClassifier.kind_of(i), form.codes, persons) for i in range(run.adversaries.number)
        )
        self._adversaries = {
            f"adversary{number}": Learner(attacker, run.adversaries.optimizer)
            for number, attacker in enumerate(attackers, 1)
        }
        self.learners = {
            "anonymizer": Learner(network, run.optimizer),
            "recognizer": Learner(Recognizer(form.codes, form.hidden, actions), run.optimizer),
            **self._adversaries,
        }
        private = targets(dataset, parts.train, run.data, {"private": self.classes["private"]})
        self._prior = prior_of(torch.from_numpy(private[:, 0]), persons)
        self._steps = max(1, len(parts.train) // run.trainer.batch_size)
        self._facing, self._standing = Facing(), Standing()
        self._courses = self._typical(self.clips(dataset, parts.train, run.data), len(parts.train))

    def setup(self, fabric: Fabric) -> None:
        super().setup(fabric)
        self._prior = self._prior.to(fabric.device)
        self._courses = self._courses.to(fabric.device)
        self._facing.to(fabric.device)
        self._standing.to(fabric.device)

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        run = self._run
        pairs = self._paired(batch)
        self._renew(number)
        seen = self._see(pairs, run.gumbel)
        attacked = self._attack(seen.codes.detach(), seen.there, pairs.person)
        private = torch.stack(
            [kl_from_prior(one.wrapped(seen.codes, seen.there), self._prior) for one in self._adversaries.values()]
        )
        losses = {
            "action_loss": cross_entropy(seen.told.action, pairs.action),
            "hint_loss": cross_entropy(seen.told.hint, pairs.action),
            "private_loss": (private.max() + private.mean()) / 2,
            "reconstruction_loss": self._apart(self._figures(seen.drawn), pairs, pairs.action).mean(),
            "surprise": _surprise(seen.codes, seen.told.expected.detach(), seen.there),
            "expectation_loss": _surprise(seen.codes.detach(), seen.told.expected, seen.there),
            "usage": _usage(seen.coded),
        }
        objective = run.objective
        loss = (
            losses["action_loss"]
            + objective.hint * losses["hint_loss"]
            + self._grown(number) * (objective.alpha * losses["private_loss"] + objective.surprise * losses["surprise"])
            + losses["expectation_loss"]
            + objective.reconstruction * losses["reconstruction_loss"]
            - objective.usage * losses["usage"]
        )
        step_together(loss, self.learners["anonymizer"], self.learners["recognizer"], steepest=_STEEPEST)
        return {
            "loss": loss.detach(),
            "adversary_loss": attacked,
            **{name: one.detach() for name, one in losses.items()},
        }

    def measure(self, batch: Batch) -> Sums:
        pairs = self._in_order(batch)
        seen = self._see(pairs, 0.0)
        count, figures = len(pairs.onset), self._figures(seen.drawn)
        codes, there = seen.codes[:count], seen.there[:count]
        metrics: Sums = {
            "test_reconstruction": (self._apart(figures, pairs, pairs.action)[:count].sum(), count),
            "test_surprise": (_surprise(codes, seen.told.expected[:count], there) * count, count),
        }
        first, following = pairs.action.chunk(2)
        metrics |= top_k(seen.told.action[:count], first, "action") | top_k(
            seen.told.action[count:], following, "next_action"
        )
        drawn, next_drawn = self._likeness(figures, pairs)
        metrics |= top_k(drawn, first, "drawn_action") | top_k(next_drawn, following, "next_drawn_action")
        for name, adversary in self._adversaries.items():
            metrics |= top_k(adversary.wrapped(codes, there), pairs.person[:count], name)
        return metrics

    def _paired(self, batch: Batch) -> _Pairs:
        """Clips changed, in pairs that are drawn anew, with rests of any length."""
        window = self._run.tokens.window
        recorded, frames = self._seen(batch)
        directions, frames, onset = augmented(recorded, frames, self._onset(recorded), self._run.augmentation, window)
        second = torch.randperm(len(frames), device=frames.device)
        begins, count = self._begins(frames)
        there = torch.cat([begins[:, 1] - begins[:, 0], self._until(frames, directions.shape[1])[second] // window])
        stream = stream_of(directions, second, begins * window, count * window, window)
        return _pairs(stream, there, onset, second, batch.targets)

    def _in_order(self, batch: Batch) -> _Pairs:
        """Clips as recorded, each as if it were alone, then the one before it in the batch."""
        directions, frames = self._seen(batch)
        window, longest = self._run.tokens.window, directions.shape[1]
        second = torch.arange(len(frames), device=frames.device).roll(1)
        begins = torch.tensor([0, longest], device=frames.device).expand(len(frames), 2)
        until = self._until(frames, longest) // window
        stream = stream_of(directions, second, begins, 2 * longest, window)
        return _pairs(stream, torch.cat([until, until[second]]), self._onset(directions), second, batch.targets)

    def _see(self, pairs: _Pairs, noise: float) -> _Seen:
        """What becomes of streams, codes chosen with some Gumbel noise."""
        stream, window = pairs.stream, self._run.tokens.window
        coded, codes, drawn = self.learners["anonymizer"].wrapped(stream.directions, noise)
        longest = self._courses.shape[1] // window
        codes = halves(codes, stream.begins // window, longest)
        ends = stream.begins.T.flatten() + pairs.there * window - 1
        clip = torch.arange(len(stream.begins), device=ends.device).repeat(2)
        mask = _there(pairs.there, longest)
        told = self.learners["recognizer"].wrapped(codes, mask, coded.hidden[clip, ends], pairs.action)
        return _Seen(coded, codes, mask, drawn, told)

    def _seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, F, 72) directions of the frames that are looked at, and (N,) how many of them there are."""
        stride = self._run.tokens.stride
        rows = batch.joints[:, ::stride, 0].flatten(2)
        directions = self._facing(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        frames = batch.present[:, ::stride, 0].sum(1).long().clamp_min(1)
        held = torch.arange(rows.shape[1], device=rows.device).minimum(frames[:, None] - 1)  # (N, F)
        return directions.gather(1, held[..., None].expand_as(directions)), frames

    def _typical(self, clips: "Dataset[Batch]", count: int) -> Tensor:
        """(actions, F, 147), figures of the typical course of each action from where it begins to move; then held."""
        of: list[list[Tensor]] = [[] for _ in self.classes["action"]]
        for number in range(count):
            joints, present, target = clips[number]
            directions, frames = self._seen(Batch(joints[None], present[None], target))
            of[int(target[0])].append(directions[0, : int(frames)])
        courses = [typical_course(some, self._figures) for some in of]
        courses = [course[max(0, int(self._onset(course[None])) - 1) :] for course in courses]
        longest = directions.shape[1]
        held = [torch.cat([course, course[-1:].expand(longest - len(course), -1)]) for course in courses]
        return self._figures(torch.stack(held))

    def _begins(self, frames: Tensor) -> tuple[Tensor, int]:
        """(N, 2), the windows in which clips begin, the first often at once, and how many windows there are then."""
        window = self._run.tokens.window
        longest = self._courses.shape[1] // window
        first = torch.randint(-_RESTS, _RESTS, frames.shape, device=frames.device).clamp_min(0)
        rests = torch.randint(1, _RESTS + 1, frames.shape, device=frames.device)
        lasts = ((frames + window - 1) // window + rests).clamp_max(longest)
        return torch.stack([first, first + lasts], 1), 2 * longest + _RESTS - 1

    def _until(self, frames: Tensor, longest: int) -> Tensor:
        """(N,) frames for which bodies are published that are there for `frames`."""
        slot = max(1, self._run.tokens.presence // self._run.tokens.stride)
        return ((frames + slot - 1) // slot * slot).clamp_max(longest)

    def _apart(self, figures: Tensor, pairs: _Pairs, action: Tensor) -> Tensor:
        """(N, S, D) figures, (2N,) actions to (2N,), how far each clip's part is from the course of an action.

        The course begins `delay` windows after the window in which the clip began to move, or one window earlier or
        later, whichever is nearest: who begins on the border of two windows is drawn as others are.
        """
        stream, window = pairs.stream, self._run.tokens.window
        late = self._run.tokens.delay * window
        starts = stream.begins + pairs.onset // window * window + late - 1
        frames = figures.shape[1]
        second = (torch.arange(frames, device=figures.device) >= stream.begins[:, 1:] + late).float()
        each = []
        for shift in (-window, 0, window):
            apart = (figures - wanted(self._courses, action, starts + shift, frames)).square().sum(2) / (3 * JOINTS)
            each.append(torch.cat([_mean(apart, 1 - second), _mean(apart, second)]))
        return torch.stack(each).amin(0)

    def _onset(self, directions: Tensor) -> Tensor:
        """(N, F, 72) to (N,): the first frame in which a joint is `_MOVES_M` from where it was in the first; else 0."""
        joints = self._standing(directions).unflatten(2, (JOINTS, 3))
        moved: Tensor = (joints - joints[:, :1]).norm(dim=3).amax(2) > _MOVES_M
        return moved.int().argmax(1)

    def _attack(self, codes: Tensor, there: Tensor, person: Tensor) -> Tensor:
        """Some steps of every attacker; returns the mean of their last losses."""
        losses = []
        for adversary in self._adversaries.values():
            for _ in range(self._run.adversaries.steps):
                loss = cross_entropy(adversary.wrapped(codes, there), person)
                adversary.step(loss)
            losses.append(loss.detach())
        return torch.stack(losses).mean()

    def _renew(self, number: int) -> None:
        """At the first step of some epochs, one attacker after the other begins anew."""
        epoch, step = divmod(number, self._steps)
        turn, between = divmod(epoch, self._run.adversaries.renewed_every)
        if turn and not between and not step:
            adversary = list(self._adversaries.values())[(turn - 1) % len(self._adversaries)]
            cast(CodeClassifier, adversary.network).reset()
            adversary.optimizer.state.clear()

    def _grown(self, number: int) -> float:
        late = number / self._steps - self._run.objective.warm_up_epochs
        return min(1.0, max(0.0, late / _GROWS))

    def _figures(self, directions: Tensor) -> Tensor:
        """(..., 72) to (..., 147), metres: the joints of average bodies with their feet on the floor; and directions,
        each as the end of a bone of `_BONE_M`: else those of hands would count for nothing.
        """
        return torch.cat([self._standing(directions), _BONE_M * directions], -1)

    def _likeness(self, figures: Tensor, pairs: _Pairs) -> tuple[Tensor, Tensor]:
        """(N, actions) twice: minus how far what is drawn of the first clip, and of the second, is from each action."""
        actions = range(len(self._courses))
        likeness = [-self._apart(figures, pairs, torch.full_like(pairs.action, one)) for one in actions]
        first, following = torch.stack(likeness, 1).chunk(2)
        return first, following


def _mean(values: Tensor, there: Tensor) -> Tensor:
    """(N, F) twice to (N,): the mean of values that are there."""
    return (values * there).sum(1) / there.sum(1)


def _pairs(stream: Stream, there: Tensor, onset: Tensor, second: Tensor, targets: Tensor) -> _Pairs:
    """Streams of which the second clips are those numbered `second`."""
    action, person = (torch.cat([one, one[second]]) for one in targets.unbind(1))
    return _Pairs(stream, there, torch.stack([onset, onset[second]], 1), action, person)


def _there(counts: Tensor, longest: int) -> Tensor:
    """(N, longest) float32: 1 for the first `counts` of each row."""
    return (torch.arange(longest, device=counts.device) < counts[:, None]).float()


def _surprise(codes: Tensor, expected: Tensor, there: Tensor) -> Tensor:
    """Nats that the predictor did not expect: mean of all codes."""
    return -((codes * expected).sum(2) * there).sum() / there.sum()


def _usage(coded: Coded) -> Tensor:
    """Entropy, in nats, of how often each code is named."""
    share = coded.logits.softmax(-1).mean((0, 1))
    return -(share * share.clamp_min(1e-9).log()).sum()
