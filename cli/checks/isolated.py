"""Checks that load other people's libraries, which may hang, crash or print: each in a process of its own."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from .line import Check, Line, guarded

TIMEOUT_S: Final = 20.0
"""Loading CUDA for the first time takes seconds."""
_KILL_S: Final = 1.0
"""A process inside a driver's call cannot be killed; it is left behind after so long."""


def isolated(group: str, check: Check, *arguments: str, needed: bool = False) -> Iterator[Line]:
    """The lines of a check made in a child process: those it gave in time, and one more where it hung or crashed."""
    what = check.__name__.replace("_", " ")
    names = [group, check.__module__, check.__name__]
    command = [sys.executable, "-P", "-m", __spec__.name, str(int(needed)), *names, *arguments]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        output, code = child.communicate(timeout=TIMEOUT_S)[0], child.returncode
    except subprocess.TimeoutExpired:
        output, code = _killed(child), None
    for text in output.decode("utf-8", "replace").splitlines():
        with suppress(ValueError, TypeError):  # cut off in the middle of its last line
            yield Line(**json.loads(text))
    if code is None:
        found = f"did not answer within {TIMEOUT_S:g} s"
        remedy = "a library or device hangs: plug in devices anew or restart the machine; reinstall its driver"
        yield Line(group, what, "broken", found, remedy, needed=needed)
    elif code:
        found = f"its process died ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
        remedy = "a library crashes: reinstall those that this check loads, and their driver"
        yield Line(group, what, "broken", found, remedy, needed=needed)


def _killed(child: "subprocess.Popen[bytes]") -> bytes:
    """Kill a child; returns what it had written."""
    child.kill()
    try:
        return child.communicate(timeout=_KILL_S)[0]
    except subprocess.TimeoutExpired as error:  # it cannot be killed inside a driver
        if child.stdout is not None:
            child.stdout.close()
        return error.output or b""


def main() -> None:
    """The child: one JSON object for each line, as soon as it is known. What libraries print goes elsewhere."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as results:
        os.dup2(2, 1)
        needed, group, module, name, *arguments = sys.argv[1:]
        check = getattr(importlib.import_module(module), name)
        for line in guarded(group, check, *arguments, needed=needed == "1"):
            results.write(json.dumps(asdict(line)) + "\n")
            results.flush()
    os._exit(0)  # libraries that crash when they are unloaded have told what they had to tell


if __name__ == "__main__":
    main()
