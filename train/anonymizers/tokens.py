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
from torch.nn.functional import linear, one_hot

from skelanon.configs.training import TokensSettings
from skelanon.sensors.body import bone_lengths, rest_directions
from skelanon.sensors.joints import BONES, INDEX, JOINTS

from .facing import DIRECTIONS, Facing
from .kinematics import bones_to_joints, constant, sum_of_coordinates
from .module import StreamModule

FLOOR_M = 1.0
AHEAD_M = 3.0
"""Where drawn bodies stand: so far below the sensor, and so far before it."""
_SPEED = 5.0
"""Differences of directions between two frames are small."""
_LEAST = 1e-6
"""A decoded direction shorter than this stays as it is."""


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
    to_joints: Tensor
    feet: Tensor
    up: Tensor
    floor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("to_squared_lengths", sum_of_coordinates())
        self.register_buffer("to_joints", bones_to_joints(bone_lengths()))
        self.register_buffer("feet", torch.tensor([3 * INDEX["FootLeft"] + 1, 3 * INDEX["FootRight"] + 1]))  # their y
        self.register_buffer("up", torch.tensor([0.0, 1.0, 0.0]).repeat(JOINTS))
        self.register_buffer("floor", torch.tensor([0.0, -FLOOR_M, AHEAD_M]).repeat(JOINTS))

    def forward(self, directions: Tensor) -> Tensor:
        lengths = ((directions * directions) @ self.to_squared_lengths).sqrt()
        body = (directions / lengths.clamp_min(_LEAST)) @ self.to_joints  # SpineBase at the origin
        standing: Tensor = body + self.floor - body.index_select(-1, self.feet).amin(-1, keepdim=True) * self.up
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
        seen = self.dropout(self.seen(directions, before))
        hidden: Tensor = self.remember(seen)[0]
        window = self.settings.window
        return Coded(hidden, self.name(self.dropout(hidden[:, window - 1 :: window])))

    def seen(self, directions: Tensor, before: Tensor) -> Tensor:
        """What the encoder takes of a frame and the one before."""
        seen: Tensor = self.see(torch.cat([directions, _SPEED * (directions - before)], -1))
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
    last, both filters, the frame's place in its window, and whether there were frames. The body faces the sensor:
    SpineBase 3 m before it, the lower foot on a floor 1 m below it.
    """

    bodies_per_sample = 1
    axes = "camera"
    root = "model"
    places: Tensor
    clock: Tensor
    read: Tensor
    """(K, 3 * hidden), what the decoder takes of each code."""

    def __init__(self, network: TokenNetwork) -> None:
        super().__init__()
        self.network = network
        self.facing, self.standing = Facing(), Standing()
        settings = network.settings
        hidden, window, stride = settings.hidden, settings.window, settings.stride
        self._parts = [hidden, DIRECTIONS, hidden, DIRECTIONS, DIRECTIONS, 1, 1]
        self.state_size = sum(self._parts)
        places = torch.arange(window * stride)
        self.register_buffer("places", places.float())
        shown = (places // stride + 1) % window
        now, following = (one_hot(frame, window).float() for frame in (shown, (shown + 1).clamp_max(window - 1)))
        columns = [
            torch.lerp(now, following, (places % stride / stride)[:, None]),  # what is drawn of the window
            (places % stride == 0).float()[:, None],  # the frame is looked at
            (places == stride * (window - 1)).float()[:, None],  # a code is named
            ((places + 1) % len(places)).float()[:, None],  # the next place
            torch.ones(len(places), 1),  # there were frames
        ]
        self.register_buffer("clock", torch.cat(columns, 1))
        each = torch.eye(settings.codes, device=network.at_rest.device)
        self.register_buffer("read", _read(network.follow, network.embed(each).relu()).detach())

    @property
    def bits_per_frame(self) -> float:
        """The most that a frame can carry, on average over a window."""
        return math.log2(self.network.settings.codes) / len(self.places)

    def halve(self) -> None:
        raise NotImplementedError("codes named in half precision would be others: motion tokens stay float32")

    def advance(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        knows, before, told, first, second, place, old = torch.split(state, self._parts, 1)
        network, settings = self.network, self.network.settings
        now = (place == self.places).float() @ self.clock
        shown, looked, due, following = torch.split(now, [settings.window, 1, 1, 2], 1)
        looked, due = looked > 0, due > 0
        directions = self.facing(joints.flatten(1))
        before = torch.where(old > 0, before, directions)
        seen = _read(network.remember, network.seen(directions, before))
        knows = torch.where(looked, _gru_step(network.remember, seen, knows), knows)
        read = self.read.index_select(0, network.name(knows).argmax(1))
        told = torch.where(due, _gru_step(network.follow, read, told), told)
        drawn = network.draw(told).reshape(-1, settings.window, DIRECTIONS)
        drawn = (shown[:, :, None] * drawn).sum(1)  # (N, 72)
        share = torch.where(old > 0, settings.smoothing, 1.0)
        first = _between(first, drawn, share)
        second = _between(second, first, share)
        before = torch.where(looked, directions, before)
        return torch.cat([knows, before, told, first, second, following], 1)

    def anonymize(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        drawn = torch.split(state, self._parts, 1)[4]
        return self.standing(drawn).reshape(-1, 1, JOINTS, 3)  # type: ignore[no-any-return]

    def sequence(self, joints: Tensor, present: Tensor) -> Tensor:
        """Frame by frame: frames without a body are not seen, as in the stream."""
        state = joints.new_zeros(joints.shape[0], self.state_size)
        frames = []
        for frame, there in zip(joints.unbind(1), present.unbind(1), strict=True):
            advanced = self.advance(frame, None, state)
            state = torch.where(there > 0, advanced, state)
            frames.append(self.anonymize(frame, None, state) * there[..., None, None])
        return torch.stack(frames, 1)


def _read(gru: nn.GRU, x: Tensor) -> Tensor:
    """(N, 3 * hidden), what the gates and the candidate of a GRU take of its input."""
    of_x, _, bias, _ = gru.all_weights[0]
    return linear(x, of_x, bias)


def _gru_step(gru: nn.GRU, read: Tensor, hidden: Tensor) -> Tensor:
    """(N, hidden) after one step, as `nn.GRU` computes it: elementary nodes, which every runner has."""
    _, of_hidden, _, bias = gru.all_weights[0]
    parts = [2 * gru.hidden_size, gru.hidden_size]
    gates, new = torch.split(read, parts, 1)
    gates_h, new_h = torch.split(linear(hidden, of_hidden, bias), parts, 1)
    reset, update = torch.sigmoid(gates + gates_h).chunk(2, 1)
    return _between(torch.tanh(new + reset * new_h), hidden, update)


def _between(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """As `torch.lerp`, which in a graph has five nodes more."""
    return start + share * (end - start)
