"""Training of motion tokens: a recognizer learns beside the anonymizer, attackers learn against it and begin anew.

Attackers see codes, not bodies: what is drawn follows from codes, so nobody who sees bodies can know more, and codes
are learned from a hundred times faster. Recognizers see both: what codes hold must show in what is drawn.
"""

from typing import Final, NamedTuple, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from skelanon.configs.training import TokensRun
from skelanon.sensors.joints import JOINTS

from .anonymizers.facing import DIRECTIONS, Facing
from .anonymizers.tokens import Coded, Standing, TokenNetwork, smoothed
from .clip_of_codes import CodeClassifier, CodePredictor
from .data.clips import Batch
from .data.splits import Split, classes_of
from .data.store import SkeletonDataset
from .losses import kl_from_prior, prior_of
from .task import Learner, Sums, Task, step_together, targets, top_k

_GROWS = 20
"""Epochs in which alpha grows from nothing."""
_STEEPEST = 1.0
"""Gradients are clipped to this norm: memory over a hundred frames has steep ones."""

_BONE_M = 0.2
_STILL = 1e-6
"""Square metres: joints that hardly move have no steep gradients."""
_WHO_KNOW_MOTION: Final = ("convolutional", "recurrent")


class Told(NamedTuple):
    """(N, classes) logits of actions: of..."""

    codes: Tensor
    drawn: Tensor
    likeness: Tensor
    """(R, N, classes), of what is drawn, by those who know recorded motion alone; then of recorded motion."""
    recorded: Tensor
    encoder: Tensor
    """...what the encoder knows in the end."""
    expected: Tensor
    """(N, W, K) log-probabilities of codes, by the true action and the codes before."""


class Recognizer(nn.Module):
    """Tells actions from codes, from what is drawn of them, from recorded motion, and from what the encoder knows."""

    def __init__(self, codes: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.of_codes = CodeClassifier("recurrent", codes, classes)
        self.of_drawings = CodeClassifier("convolutional", DIRECTIONS, classes)
        self.of_recorded = nn.ModuleList(CodeClassifier(kind, DIRECTIONS, classes) for kind in _WHO_KNOW_MOTION)
        self.of_encoder = nn.Linear(hidden, classes)
        self.codes = CodePredictor(codes, classes)

    def forward(
        self,
        codes: Tensor,
        named: Tensor,
        drawn: Tensor,
        recorded: Tensor,
        seen: Tensor,
        hidden: Tensor,
        action: Tensor,
    ) -> Told:
        of_recorded = torch.stack([one(recorded, seen) for one in self.of_recorded])
        self.of_recorded.requires_grad_(False)
        likeness = torch.stack([one(drawn, seen) for one in self.of_recorded])
        self.of_recorded.requires_grad_(True)
        return Told(
            self.of_codes(codes, named),
            self.of_drawings(drawn, seen),
            likeness,
            of_recorded,
            self.of_encoder(hidden),
            self.codes(codes.detach(), action),
        )


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

    def setup(self, fabric: Fabric) -> None:
        super().setup(fabric)
        self._prior = self._prior.to(fabric.device)
        self._facing.to(fabric.device)
        self._standing.to(fabric.device)

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        directions, frames = self._augmented(*self._seen(batch))
        frames = self._until(frames, directions.shape[1])
        run, form = self._run, self._run.tokens
        coded, codes, drawn = self.learners["anonymizer"].wrapped(directions, run.gumbel)
        there = _there(frames // form.window, codes.shape[1])
        action, person = batch.targets.unbind(1)
        self._renew(number)
        attacked = self._attack(codes.detach(), there, person)
        seen = _there(frames, drawn.shape[1])
        shown, recorded = smoothed(drawn, form), smoothed(self._wanted(directions, drawn.shape[1]), form)
        told = self.learners["recognizer"].wrapped(codes, there, shown, recorded, seen, _last(coded, frames), action)
        private = torch.stack(
            [kl_from_prior(one.wrapped(codes, there), self._prior) for one in self._adversaries.values()]
        )
        losses = {
            "action_loss": cross_entropy(told.codes, action),
            "drawing_loss": cross_entropy(told.drawn, action),
            "likeness_loss": _of_all(told.likeness, action),
            "recorded_loss": _of_all(told.recorded, action),
            "hint_loss": cross_entropy(told.encoder, action),
            "private_loss": (private.max() + private.mean()) / 2,
            "reconstruction_loss": self._reconstruction(directions, drawn, frames),
            "surprise": _surprise(codes, told.expected.detach(), there),
            "expectation_loss": _surprise(codes.detach(), told.expected, there),
            "motion_loss": self._motion(directions, shown, frames),
            "usage": _usage(coded, there),
        }
        objective = run.objective
        loss = (
            losses["action_loss"]
            + objective.drawing * losses["drawing_loss"]
            + objective.likeness * losses["likeness_loss"]
            + losses["recorded_loss"]
            + objective.hint * losses["hint_loss"]
            + self._grown(number) * (objective.alpha * losses["private_loss"] + objective.surprise * losses["surprise"])
            + losses["expectation_loss"]
            + objective.reconstruction * losses["reconstruction_loss"]
            + objective.motion * losses["motion_loss"]
            - objective.usage * losses["usage"]
        )
        step_together(loss, self.learners["anonymizer"], self.learners["recognizer"], steepest=_STEEPEST)
        return {
            "loss": loss.detach(),
            "adversary_loss": attacked,
            **{name: one.detach() for name, one in losses.items()},
        }

    def measure(self, batch: Batch) -> Sums:
        directions, frames = self._seen(batch)
        frames = self._until(frames, directions.shape[1])
        coded, codes, drawn = self.learners["anonymizer"].wrapped(directions, 0.0)
        there = _there(frames // self._run.tokens.window, codes.shape[1])
        seen = _there(frames, drawn.shape[1])
        form = self._run.tokens
        shown, recorded = smoothed(drawn, form), smoothed(self._wanted(directions, drawn.shape[1]), form)
        action = batch.targets[:, 0]
        told = self.learners["recognizer"].wrapped(codes, there, shown, recorded, seen, _last(coded, frames), action)
        reconstruction = self._reconstruction(directions, drawn, frames)
        metrics: Sums = {"test_reconstruction": (reconstruction * len(codes), len(codes))}
        metrics["test_surprise"] = (_surprise(codes, told.expected, there) * len(codes), len(codes))
        metrics |= top_k(told.codes, action, "action") | top_k(told.drawn, action, "drawn_action")
        metrics |= top_k(told.likeness.mean(0), action, "likeness")
        metrics |= top_k(told.recorded.mean(0), action, "recorded_action")
        for name, adversary in self._adversaries.items():
            metrics |= top_k(adversary.wrapped(codes, there), batch.targets[:, 1], name)
        return metrics

    def _seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, F, 72) directions of the frames that are looked at, and (N,) how many of them there are."""
        stride = self._run.tokens.stride
        rows = batch.joints[:, ::stride, 0].flatten(2)
        directions = self._facing(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        frames = batch.present[:, ::stride, 0].sum(1).long().clamp_min(1)
        held = torch.arange(rows.shape[1], device=rows.device).minimum(frames[:, None] - 1)  # (N, F)
        return directions.gather(1, held[..., None].expand_as(directions)), frames

    def _until(self, frames: Tensor, longest: int) -> Tensor:
        """(N,) frames for which bodies are published that are there for `frames`."""
        slot = max(1, self._run.tokens.presence // self._run.tokens.stride)
        return ((frames + slot - 1) // slot * slot).clamp_max(longest)

    def _augmented(self, directions: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Another pace, another beginning within the first window, noise."""
        settings, window = self._run.augmentation, self._run.tokens.window
        clips, longest, _ = directions.shape
        device = directions.device
        pace = torch.exp(settings.pace * (2 * torch.rand(clips, device=device) - 1))
        start = torch.randint(0, window, (clips,), device=device)
        at = start[:, None] + torch.arange(longest, device=device) * pace[:, None]  # (N, F), in recorded frames
        last = (frames - 1)[:, None]
        lower = at.long().minimum(last)
        upper = (lower + 1).minimum(last)
        share = (at - lower).clamp(0, 1)[..., None]
        clip = torch.arange(clips, device=device)[:, None]
        warped = torch.lerp(directions[clip, lower], directions[clip, upper], share)
        fixed = torch.randn(clips, 1, warped.shape[2], device=device)
        noisy = warped + settings.noise * (3 * fixed + torch.randn_like(warped))
        left = ((frames - start).clamp_min(1) / pace).long().clamp(min(2 * window, longest), longest)
        return noisy, left

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

    def _reconstruction(self, directions: Tensor, drawn: Tensor, frames: Tensor) -> Tensor:
        """Mean squared difference, in square metres, between joints that are drawn and those of an average body that
        moves as was seen `delay` windows before; at first, as in the first frame. Directions count besides, each as
        the end of a bone of `_BONE_M`: else those of hands would count for nothing.
        """
        wanted = self._wanted(directions, drawn.shape[1])
        seen = _there(frames, drawn.shape[1])
        joints: Tensor = (self._standing(drawn) - self._standing(wanted)).square().mean(2)
        apart = joints + _BONE_M**2 * (drawn - wanted).square().mean(2)
        return (apart * seen).sum() / seen.sum()

    def _motion(self, directions: Tensor, shown: Tensor, frames: Tensor) -> Tensor:
        """Mean squared difference, in square metres, between how far joints move in a window, as drawn and as seen
        `delay` windows before: a cycle that is drawn in another phase moves as far.
        """
        window = self._run.tokens.window
        wanted = self._wanted(directions, shown.shape[1])
        there = _there(frames // window, shown.shape[1] // window)
        apart = (_way(self._standing(shown), window) - _way(self._standing(wanted), window)).square().mean(2)
        return (apart * there).sum() / there.sum()

    def _wanted(self, directions: Tensor, frames: int) -> Tensor:
        """(N, frames, 72), what was seen `delay` windows before; at first, the first frame."""
        late = self._run.tokens.delay * self._run.tokens.window - 1
        return torch.cat([directions[:, :1].expand(-1, late, -1), directions], 1)[:, :frames]


def _way(joints: Tensor, window: int) -> Tensor:
    """(N, F, 75) to (N, F // window, 25): how far each joint moves in each window, metres."""
    steps = (joints[:, 1:] - joints[:, :-1]).reshape(len(joints), -1, JOINTS, 3).square().sum(3)
    steps = torch.cat([torch.zeros_like(steps[:, :1]), steps], 1)
    count = steps.shape[1] // window
    ways: Tensor = (steps[:, : count * window] + _STILL).sqrt().reshape(len(steps), count, window, -1).sum(2)
    return ways


def _there(counts: Tensor, longest: int) -> Tensor:
    """(N, longest) float32: 1 for the first `counts` of each row."""
    return (torch.arange(longest, device=counts.device) < counts[:, None]).float()


def _last(coded: Coded, frames: Tensor) -> Tensor:
    """(N, hidden), what the encoder knows at each clip's end."""
    return coded.hidden[torch.arange(len(frames), device=frames.device), frames - 1]


def _of_all(logits: Tensor, action: Tensor) -> Tensor:
    """Of (R, N, classes), those of R recognizers: mean cross entropy."""
    return cross_entropy(logits.flatten(0, 1), action.repeat(len(logits)))


def _surprise(codes: Tensor, expected: Tensor, there: Tensor) -> Tensor:
    """Nats that the predictor did not expect: mean of all codes."""
    return -((codes * expected).sum(2) * there).sum() / there.sum()


def _usage(coded: Coded, there: Tensor) -> Tensor:
    """Entropy, in nats, of how often each code is named."""
    share = (coded.logits.softmax(-1) * there[..., None]).sum((0, 1)) / there.sum()
    return -(share * share.clamp_min(1e-9).log()).sum()
