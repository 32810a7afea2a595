"""Motion tokens: all that is published follows from one of K codes every few frames.

A causal encoder looks at bone directions and, at the end of each window, names one of K codes; a decoder that has seen
nothing but codes draws a body of average proportions. So each window carries log2 K bits at most, whatever an attacker
knows, and bodies, places and headings nothing at all. What codes stand for is learned (`train/tokens.py`).

Related: van den Oord et al., "Neural Discrete Representation Learning" (2017); Zhang et al., "T2M-GPT" (2023).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, one_hot

from skelanon.configs.training import TokensSettings
from skelanon.sensors.body import bone_lengths, rest_directions
from skelanon.sensors.joints import BONES, INDEX, JOINTS

from .facing import DIRECTIONS, Facing
from .held_gru import HeldGru
from .kinematics import bones_to_joints, constant, sum_of_coordinates
from .module import StreamModule

FLOOR_M = 1.0
AHEAD_M = 3.0
"""Where drawn bodies stand: so far below the sensor, and so far before it."""
_SPEED = 5.0
"""Differences of directions between two frames are small."""
_LEAST = 1e-6
"""Decoded directions are of length one, but those that are hardly longer than this."""


class Coded(NamedTuple):
    """What an encoder makes of N clips of F frames; W = F // window windows."""

    hidden: Tensor
    """(N, F, hidden), what the encoder knows at each frame."""
    logits: Tensor
    """(N, W, K)."""


class Standing(nn.Module):
    """Rows of bone directions (..., 72), of any length, to rows of joints (..., 75) of an average body, metres.

    Its lower foot is on a floor 1 m below the sensor, its SpineBase 3 m before the sensor.
    """

    to_squared_lengths: Tensor
    least: Tensor
    to_joints: Tensor
    place: Tensor
    to_feet: Tensor
    floor: Tensor
    up: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("to_squared_lengths", sum_of_coordinates())
        self.register_buffer("least", torch.tensor(_LEAST**2).repeat(DIRECTIONS))
        self.register_buffer("to_joints", bones_to_joints(bone_lengths()).T.contiguous())
        self.register_buffer("place", torch.tensor([0.0, 0.0, AHEAD_M]).repeat(JOINTS))
        feet = [3 * INDEX["FootLeft"] + 1, 3 * INDEX["FootRight"] + 1]  # their y
        self.register_buffer("to_feet", self.to_joints[feet])
        self.register_buffer("floor", torch.tensor(FLOOR_M).repeat(len(feet)))
        self.register_buffer("up", torch.tensor([0.0, 1.0, 0.0]).repeat(JOINTS))

    def forward(self, directions: Tensor) -> Tensor:
        lengths = linear(directions * directions, self.to_squared_lengths, self.least).sqrt()
        unit = directions / lengths
        feet = linear(unit, self.to_feet, self.floor)  # how high above the floor, SpineBase being at the origin
        standing: Tensor = linear(unit, self.to_joints, self.place) - feet.amin(-1, keepdim=True) * self.up
        return standing


class TokenNetwork(nn.Module):
    """Encoder and decoder. Frames are those that are looked at: every `stride`-th.

    Codes say how a body differs from one that stands at rest, as everybody does before the first code.
    """

    at_rest: Tensor

    def __init__(self, settings: TokensSettings) -> None:
        super().__init__()
        self.settings = settings
        codes, hidden, window = settings.codes, settings.hidden, settings.window
        self.see = nn.Linear(2 * DIRECTIONS, hidden)
        self.remember = nn.GRU(hidden, hidden, batch_first=True)
        self.name = nn.Linear(hidden, codes)
        self.embed = nn.Linear(codes, hidden)
        self.follow = nn.GRU(hidden, hidden, batch_first=True)
        self.differ = nn.Linear(hidden, window * DIRECTIONS, bias=False)
        self.register_buffer("at_rest", constant(rest_directions()[list(BONES)].ravel()).repeat(window))
        self.dropout = nn.Dropout(settings.dropout)

    def encode(self, directions: Tensor) -> Coded:
        """(N, F, 72) directions to what is known of them."""
        before = torch.cat([directions[:, :1], directions[:, :-1]], 1)
        seen = self.dropout(self.seen(directions, _SPEED * (directions - before)))
        hidden: Tensor = self.remember(seen)[0]
        window = self.settings.window
        return Coded(hidden, self.name(self.dropout(hidden[:, window - 1 :: window])))

    def seen(self, directions: Tensor, change: Tensor) -> Tensor:
        """What the encoder takes of directions, and of `_SPEED` times how they differ from those before."""
        seen: Tensor = self.see(torch.cat([directions, change], -1))
        return seen.relu()

    def draw(self, followed: Tensor) -> Tensor:
        """(..., hidden) what is remembered of codes to (..., window * 72), all that a window may draw of it."""
        drawn: Tensor = self.at_rest + self.differ(followed)
        return drawn

    def decode(self, codes: Tensor, frames: int) -> Tensor:
        """(N, W, K) one-hot codes to (N, frames, 72): at each frame what is drawn then, with what was named by then.

        A window is drawn while the next is looked at, which begins with the frame at which its code is named.
        """
        followed = self.follow(self.embed(codes).relu())[0]
        drawn = self.draw(torch.cat([torch.zeros_like(followed[:, :1]), followed], 1))  # (N, W + 1, window * 72)
        drawn = drawn.reshape(len(drawn), -1, DIRECTIONS)  # frame f shows window (f + 1) // window
        return drawn[:, 1 : frames + 1]

    def forward(self, directions: Tensor, noise: float) -> tuple[Coded, Tensor, Tensor]:
        """(N, F, 72) to what the encoder makes of it, (N, W, K) codes and (N, F, 72) what is drawn of them.

        noise: scale of Gumbel noise on the logits, in training. Gradients go straight through the choice of a code.
        """
        coded = self.encode(directions)
        logits = coded.logits
        if noise > 0:
            logits = logits - noise * torch.empty_like(logits).exponential_().clamp_min(1e-20).log()
        chosen = one_hot(logits.argmax(-1), self.settings.codes).to(logits)
        soft = logits.softmax(-1)
        codes = chosen + soft - soft.detach()
        return coded, codes, self.decode(codes, directions.shape[1])


class MotionTokens(StreamModule):
    """The streamed form: a frame in, a frame out, and a state.

    Between frames that are looked at, what is drawn goes over from one to the next; two low-pass filters in a row
    smooth it besides, so that codes do not pop. State: what the encoder and the decoder remember, the directions seen
    last, both filters (how they differ from a body at rest; the first as the second takes it), and the frame's place in
    its window, from one on. The body faces the sensor: SpineBase 3 m before it, the lower foot on a floor 1 m below it.

    What a place decides, and what the decoder takes of a code, is looked up: a frame costs nodes and the weights that
    they read.
    """

    bodies_per_sample = 1
    axes = "camera"
    root = "model"
    clock: Tensor
    """(places + 1, 4): whether the frame is looked at and a code is named, `_SPEED` or zero, the next frame's place."""
    strokes: Tensor
    """(places + 1, hidden * 72), what is drawn at each place of what is remembered of codes, for the first filter."""
    read: Tensor
    """(K, 3 * hidden), what the decoder takes of each code."""
    at_rest: Tensor

    def __init__(self, network: TokenNetwork) -> None:
        super().__init__()
        self.network = network
        self.facing, self.standing = Facing(), Standing()
        self.remember, self.follow = HeldGru(network.remember), HeldGru(network.follow)
        settings = network.settings
        hidden, window, stride = settings.hidden, settings.window, settings.stride
        self._parts = [hidden, DIRECTIONS, hidden, DIRECTIONS, DIRECTIONS, 1]
        self.state_size = sum(self._parts)
        self._period = window * stride
        with torch.no_grad():
            self.register_buffer("at_rest", network.at_rest[:DIRECTIONS].clone())
            each_code = torch.eye(settings.codes, device=network.at_rest.device)
            self.register_buffer("read", self.follow.read(network.embed(each_code).relu()))
            places = torch.tensor([0, *range(self._period)])  # the first of all frames, and those of any window
            looked, due = places % stride == 0, places == stride * (window - 1)
            speed = _SPEED * (torch.arange(len(places)) > 0)
            self.register_buffer("clock", torch.stack([looked, due, speed, (places + 1) % self._period + 1], 1))
            self.register_buffer("strokes", self._strokes(places))

    def _strokes(self, places: Tensor) -> Tensor:
        """Between frames that are looked at, what is drawn goes over from one to the next, of the same window."""
        window, stride = self.network.settings.window, self.network.settings.stride
        each = self.network.differ.weight.reshape(window, DIRECTIONS, -1)
        shown = (places // stride + 1) % window
        share = (places % stride / stride)[:, None, None].to(each)
        strokes = torch.lerp(each[shown], each[(shown + 1).clamp_max(window - 1)], share)
        return self.network.settings.smoothing**2 * strokes.transpose(1, 2).flatten(1)

    @property
    def bits_per_frame(self) -> float:
        """The most that a frame can carry, on average over a window."""
        return math.log2(self.network.settings.codes) / self._period

    def halve(self) -> None:
        raise NotImplementedError("codes named in half precision would be others: motion tokens stay float32")

    def advance(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        knows, before, told, first, second, place = torch.split(state, self._parts, 1)
        network, smoothing = self.network, self.network.settings.smoothing
        place = place.flatten().long()
        looked, due, speed, following = torch.split(embedding(place, self.clock), 1, 1)
        directions = self.facing(joints.flatten(1))
        seen = network.seen(directions, speed * (directions - before))
        knows = self.remember(self.remember.read(seen), knows, looked)
        code = network.name(knows).argmax(1)
        told = self.follow(embedding(code, self.read), told, due)
        strokes = embedding(place, self.strokes).reshape(-1, network.settings.hidden, DIRECTIONS)
        first = (1 - smoothing) * first + (told[:, None] @ strokes).squeeze(1)
        second = (1 - smoothing) * second + first
        before = torch.where(looked > 0, directions, before)
        return torch.cat([knows, before, told, first, second, following], 1)

    def anonymize(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        smooth = state[:, -DIRECTIONS - 1 : -1]  # the second filter
        return self.standing(self.at_rest + smooth).reshape(-1, 1, JOINTS, 3)  # type: ignore[no-any-return]

    def sequence(self, joints: Tensor, present: Tensor) -> Tensor:
        """Frame by frame: frames without a body are not seen, as in the stream."""
        state = joints.new_zeros(joints.shape[0], self.state_size)
        frames = []
        for frame, there in zip(joints.unbind(1), present.unbind(1), strict=True):
            advanced = self.advance(frame, None, state)
            state = torch.where(there > 0, advanced, state)
            frames.append(self.anonymize(frame, None, state) * there[..., None, None])
        return torch.stack(frames, 1)
