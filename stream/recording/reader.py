"""Reads recordings: the same frames and events that a Subscriber had."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from skelanon.stream.received import Event, Follower, Message, ReceivedFrame, StreamStats, log_event
from skelanon.stream.wire import WireError, parse_topic

from .errors import RecordError
from .recorder import SUFFIX
from .records import Damage, RecordFile

STALL_AFTER_NS: Final = 2_000_000_000


class Recording:
    """A recording: one `.mcap` file, or a folder of them, which are read in the order of their names.

    streams: only these. on_event: called with each Event while it is read; by default it is logged.
    Iterating yields every frame as a ReceivedFrame, from the beginning each time; a Window takes them. The counts and
    `damage` are those of the newest reading. A file that was cut off, by a kill say, is read as far as it goes; damaged
    records and malformed messages are passed over and counted.
    Raises RecordError where there is no recording, here or in the middle of reading.

    >>> Recording(Path("nowhere.mcap"))
    Traceback (most recent call last):
    skelanon.stream.recording.errors.RecordError: there is no recording nowhere.mcap
    """

    def __init__(
        self,
        path: Path | str,
        streams: Iterable[str] | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        path = Path(path)
        if isinstance(streams, str):
            raise ValueError(f"`streams` is a list of names: [{streams!r}]")
        if not path.exists():
            raise RecordError(f"there is no recording {path}")
        self.paths = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not self.paths:
            raise RecordError(f"there is no recording in {path}: no `{SUFFIX}` file")
        self._wanted = None if streams is None else frozenset(streams)
        self._on_event = on_event or log_event
        self._follower = self._new_follower()
        self.damage: dict[Path, Damage] = {}
        """What could not be read of each file read so far."""

    @property
    def streams(self) -> dict[str, StreamStats]:
        """What is known of each stream that has come so far."""
        return self._follower.streams

    @property
    def malformed(self) -> int:
        """Messages that were refused."""
        return self._follower.malformed

    def __iter__(self) -> Iterator[ReceivedFrame]:
        """Every frame."""
        for _, frame, _ in self.messages():
            if frame is not None:
                yield frame

    def messages(self) -> Iterator[tuple[Message, ReceivedFrame | None, int]]:
        """Every message: what it says, the frame if it is one, and when it was received, nanoseconds."""
        self._follower = follower = self._new_follower()
        for topic, content, received_ns in self._contents():
            follower.find_stalls(received_ns)
            taken = follower.take((topic, content), received_ns, received_ns)
            if taken is not None:
                yield *taken, received_ns

    def names(self) -> list[str]:
        """The streams in the recording, sorted. Reads all of it, but not what its messages say."""
        return sorted({parse_topic(topic)[0] for topic in {topic for topic, _, _ in self._contents()}})

    def _contents(self) -> Iterator[tuple[bytes, bytes, int]]:
        self.damage = {}
        for path in self.paths:
            file = RecordFile(path)
            self.damage[path] = file.damage
            for topic, content, received_ns in file.messages():
                with suppress(WireError):  # another program's topic
                    stream, _ = parse_topic(topic)
                    if self._wanted is None or stream in self._wanted:
                        yield topic, content, received_ns

    def _new_follower(self) -> Follower:
        return Follower((), self._on_event, stall_after_ns=STALL_AFTER_NS, now_ns=0)
