"""`skelanon` on a machine whose clock is set while it runs: SIGUSR1 an hour ahead, SIGUSR2 an hour back."""

import signal
import time

_HOUR_NS = 3600 * 10**9
_offset_ns = [0]
_real_time, _real_time_ns = time.time, time.time_ns


def _set(number: int, _: object) -> None:
    _offset_ns[0] += _HOUR_NS if number == signal.SIGUSR1 else -_HOUR_NS


# Before skelanon is imported, which keeps references to these functions.
time.time = lambda: _real_time() + _offset_ns[0] / 1e9
time.time_ns = lambda: _real_time_ns() + _offset_ns[0]
signal.signal(signal.SIGUSR1, _set)
signal.signal(signal.SIGUSR2, _set)

if __name__ == "__main__":
    from skelanon.cli.main import main

    main()
