"""The only type that the publisher accepts. Bodies get into it through the anonymizer alone."""

from typing import Annotated, Final, Literal, NoReturn

from msgspec import Meta, Struct

State = Literal["ok", "empty", "fault"]

JOINTS_BYTES: Final = 25 * 3 * 4
TRACKING_BYTES: Final = 25

_SEAL: Final = object()
"""Held by `anonymizer.py` and nobody else; a test reads every import of it."""


class Body(Struct, frozen=True):
    """One anonymous body, as it goes over the wire.

    id: random, new for each track and each run. joints: 25 x 3 little-endian float32, row-major.
    tracking: 25 x uint8 (0 not tracked, 1 inferred, 2 tracked), or empty where the node does not publish it.
    """

    id: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
    joints: Annotated[bytes, Meta(min_length=JOINTS_BYTES, max_length=JOINTS_BYTES)]
    tracking: Annotated[bytes, Meta(max_length=TRACKING_BYTES)]


class AnonymousFrame:
    """A frame that may leave the process: immutable bytes, nothing of the sensor's but the time of capture.

    state: `ok` (bodies were seen; those that failed a check are missing), `empty` (nobody was seen) or `fault`.
    """

    __slots__ = ("bodies", "captured_ns", "state")

    bodies: tuple[Body, ...]
    captured_ns: int
    state: State

    def __init__(self, seal: object, captured_ns: int, state: State, bodies: tuple[Body, ...]) -> None:
        if seal is not _SEAL:
            raise TypeError("only the anonymizer makes an AnonymousFrame with bodies")
        object.__setattr__(self, "captured_ns", captured_ns)
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "bodies", bodies)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("an AnonymousFrame does not change")

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("AnonymousFrame cannot be subclassed")

    def __repr__(self) -> str:
        return f"AnonymousFrame({self.state}, bodies={len(self.bodies)}, captured_ns={self.captured_ns})"


def without_bodies(captured_ns: int, state: Literal["empty", "fault"]) -> AnonymousFrame:
    """A frame that says that nobody is there, or that something is wrong; anyone may make it."""
    return AnonymousFrame(_SEAL, captured_ns, state, ())
