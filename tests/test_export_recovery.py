"""A runner that fails: the call is lost, nothing raw or stale comes out, and the node gets a runner again."""

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from skelanon.export.bundle import default_bundle_path, read_bundle
from skelanon.export.errors import RunnerError
from skelanon.export.recovery import FIRST_PAUSE_S, LONGEST_PAUSE_S, PROVEN, TOLERATED, RecoveringRunner
from skelanon.export.runner import Floats, Runner
from skelanon.sensors.frame import BodyFrame
from skelanon.stream.anonymizer import Anonymizer
from skelanon.stream.latency import Latencies, Stopwatch

BUNDLE = read_bundle(default_bundle_path())


class Flaky(Runner):
    """Gives its name back; fails for a number of calls, and remembers which samples were new."""

    def __init__(self, name: float, failures: float = 0) -> None:
        super().__init__(BUNDLE)
        self.name = name
        self.failures = failures
        self.fresh: list[list[bool]] = []
        self.closed = False

    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        if self.failures > 0:
            self.failures -= 1
            raise MemoryError("joint 1.25")
        self.fresh.append(list(fresh))
        return joints * np.float32(0.5) + np.float32(self.name)

    def close(self) -> None:
        self.closed = True
        if self.failures == np.inf:
            raise RuntimeError("the device is lost")


class Factory:
    """Makes runners one after the other; an exception in their line is raised instead."""

    def __init__(self, *runners: Runner | Exception) -> None:
        self.line = list(runners)
        self.made = 0

    def __call__(self) -> Runner:
        self.made += 1
        found = self.line.pop(0) if len(self.line) > 1 else self.line[0]
        if isinstance(found, Exception):
            raise found
        return found


class Bench:
    """A clock, and work beside the node that is done when the test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.work: list[Callable[[], None]] = []

    def runner(self, first: Runner, make: Factory, fallback: Factory | None = None) -> RecoveringRunner:
        return RecoveringRunner(first, make, fallback, clock=lambda: self.now_s, beside=self.work.append)

    def do(self) -> None:
        """All work beside the node."""
        while self.work:
            self.work.pop(0)()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def call(runner: Runner, rows: Sequence[int] = (0,), fresh: Sequence[bool] = (False,)) -> float:
    """The name of the runner that answered."""
    joints = np.zeros((len(rows), 1, 25, 3), np.float32)
    return float(runner.step(rows, fresh, joints, np.ones((len(rows), 1), np.float32))[0, 0, 0, 0])


def fail(runner: Runner, times: int) -> None:
    for _ in range(times):
        with pytest.raises((RunnerError, MemoryError)):
            call(runner)


def test_one_failure_costs_one_call(bench: Bench) -> None:
    make = Factory(Flaky(2))
    runner = bench.runner(Flaky(1, failures=1), make)
    fail(runner, 1)
    assert call(runner) == 1
    assert make.made == 0
    assert bench.work == []


def test_failures_that_are_not_in_a_row_do_not_add_up(bench: Bench) -> None:
    first = Flaky(1)
    runner = bench.runner(first, Factory(Flaky(2)))
    for _ in range(3 * TOLERATED):
        first.failures = TOLERATED - 1
        fail(runner, TOLERATED - 1)
        assert call(runner) == 1


def test_a_runner_that_fails_again_and_again_is_made_anew_and_nobody_waits(bench: Bench) -> None:
    first, make = Flaky(1, failures=np.inf), Factory(Flaky(2))
    runner = bench.runner(first, make)
    fail(runner, TOLERATED)
    for _ in range(5):
        with pytest.raises(RunnerError, match="is being made anew"):
            call(runner)
    assert len(bench.work) == 1
    bench.do()
    assert first.closed
    assert call(runner) == 2
    assert make.made == 1


def test_every_row_starts_afresh_with_a_new_runner_once(bench: Bench) -> None:
    """Also the frames of one row in one call: but the first of them."""
    second = Flaky(2)
    runner = bench.runner(Flaky(1, failures=np.inf), Factory(second))
    fail(runner, TOLERATED + 1)
    bench.do()
    call(runner, [3, 4, 3], [False, False, False])
    call(runner, [4, 5, 3, 5], [False, False, True, False])
    call(runner, [3, 4, 5], [False] * 3)
    assert second.fresh == [[True, True, False], [False, True, True, False], [False, False, False]]


def test_a_row_whose_first_call_failed_starts_with_the_next(bench: Bench) -> None:
    second = Flaky(2)
    runner = bench.runner(Flaky(1, failures=np.inf), Factory(second))
    fail(runner, TOLERATED + 1)
    bench.do()
    second.failures = 1
    fail(runner, 1)
    call(runner)
    assert second.fresh == [[True]]


def test_what_always_fails_is_replaced_by_the_fallback(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    make, fallback = Factory(Flaky(2, failures=np.inf)), Factory(Flaky(3))
    runner = bench.runner(Flaky(1, failures=np.inf), make, fallback)
    for _ in range(2):
        fail(runner, TOLERATED + 1)
        bench.now_s += FIRST_PAUSE_S
        bench.do()
    assert call(runner) == 3
    assert (make.made, fallback.made) == (1, 1)
    assert "`model.fallback` takes over" in caplog.text
    assert "1.25" not in caplog.text


def test_what_cannot_be_made_anew_is_replaced_by_the_fallback_at_once(bench: Bench) -> None:
    make, fallback = Factory(RunnerError("no GPU")), Factory(Flaky(3))
    runner = bench.runner(Flaky(1, failures=np.inf), make, fallback)
    fail(runner, TOLERATED + 1)
    bench.do()
    assert call(runner) == 3


def test_without_a_fallback_it_is_tried_for_ever_with_growing_pauses(bench: Bench) -> None:
    make = Factory(RunnerError("no GPU"))
    runner = bench.runner(Flaky(1, failures=np.inf), make)
    fail(runner, TOLERATED)
    pauses_s: list[float] = []
    last_s = bench.now_s
    while len(pauses_s) < 12:
        fail(runner, 1)
        if bench.work:
            bench.do()
            pauses_s.append(bench.now_s - last_s)
            last_s = bench.now_s
        bench.now_s += 0.5
    assert pauses_s[:5] == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert pauses_s[-1] == LONGEST_PAUSE_S
    make.line = [Flaky(2)]
    bench.now_s += LONGEST_PAUSE_S
    fail(runner, 1)
    bench.do()
    assert call(runner) == 2


def test_a_runner_that_is_made_but_never_works_is_not_made_in_a_hurry(bench: Bench) -> None:
    make = Factory(Flaky(2, failures=np.inf))
    runner = bench.runner(Flaky(1, failures=np.inf), make)
    for _ in range(300):  # ten seconds at 30 Hz
        fail(runner, 1)
        bench.do()
        bench.now_s += 1 / 30
    assert 3 <= make.made <= 5


def test_after_a_while_it_counts_as_sound_again(bench: Bench) -> None:
    second, make, fallback = Flaky(2), Factory(Flaky(2)), Factory(Flaky(3))
    make.line = [second, Flaky(4)]
    runner = bench.runner(Flaky(1, failures=np.inf), make, fallback)
    fail(runner, TOLERATED + 1)
    bench.do()
    for _ in range(PROVEN):
        call(runner)
    second.failures = np.inf
    bench.now_s += LONGEST_PAUSE_S
    fail(runner, TOLERATED + 1)
    bench.do()
    assert call(runner) == 4
    assert fallback.made == 0


def test_what_is_made_after_the_end_is_closed(bench: Bench) -> None:
    late = Flaky(2)
    runner = bench.runner(Flaky(1, failures=np.inf), Factory(late))
    fail(runner, TOLERATED + 1)
    runner.close()
    bench.do()
    assert late.closed
    fail(runner, 1)
    assert bench.work == []
    runner.close()


def test_the_work_is_done_in_a_thread_of_its_own() -> None:
    here, made_in, done = threading.current_thread(), list[threading.Thread](), threading.Event()

    def make() -> Runner:
        made_in.append(threading.current_thread())
        done.set()
        return Flaky(2)

    runner = RecoveringRunner(Flaky(1, failures=np.inf), make)
    fail(runner, TOLERATED + 1)
    assert done.wait(10.0)
    made_in[0].join(10.0)
    assert made_in[0] is not here
    assert call(runner) == 2


def test_a_node_publishes_fault_frames_meanwhile_and_nothing_raw(
    bench: Bench, body_frame: Callable[..., BodyFrame], caplog: pytest.LogCaptureFixture
) -> None:
    """Through the anonymizer, as the node runs it: ok, fault while it fails and is made anew, ok again."""
    caplog.set_level(logging.INFO)
    first = Flaky(0.05)
    anonymizer = Anonymizer(bench.runner(first, Factory(Flaky(0.06))), sensors=1)
    states = []
    for number in range(12):
        if number == 3:
            first.failures = np.inf
        if number == 9:
            bench.do()
        frame = body_frame(7, captured_ns=number * 33_000_000)
        [outcome] = anonymizer.anonymize([(0, frame)], Stopwatch(Latencies()))
        states.append(outcome.frame.state)
        assert len(outcome.frame.bodies) == (outcome.frame.state == "ok")
    assert states == ["ok"] * 3 + ["fault"] * 6 + ["ok"] * 3
    assert "1.25" not in caplog.text
