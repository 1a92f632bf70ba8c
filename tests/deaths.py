"""Functions of the package that die: by SIGKILL at one of their changes of files, or at a moment of their work.

    with Lives("isogloss.disparity.align") as lives:
        whole = lives.live("isogloss.disparity.align:align", arguments)
        lives.live("isogloss.disparity.align:align", arguments, change=whole.changes // 2).status  # -9

A process of its own has the modules loaded and forks once for each life. Run as a script, this file is that process.
"""

import importlib
import io
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
DEAD = (-signal.SIGKILL, -signal.SIGPROF)


class Life(NamedTuple):
    """How a call ended."""

    status: int  # 0: it returned; 1: it raised; below 0: the signal that it died of
    changes: int  # of files, that it made or was about to make; 0 if it died
    seconds: float  # of the processor
    said: str  # on standard error


class Lives:
    """A process that has `modules` loaded, and calls their functions in forks of it."""

    def __init__(self, *modules: str, environment: Mapping[str, str] | None = None) -> None:
        paths = [str(Path(__file__).parents[1] / "workflow" / "scripts"), str(Path(__file__).parent)]
        environment = {**(environment or os.environ), "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # or the first life would change files that no other does
        command = [sys.executable, __file__, *modules]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def live(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        change: int | None = None,
        seconds: float | None = None,
        signalled: threading.Event | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Life:
        """Call `module:function`; it dies just before its `change`-th change of a file, after `seconds` of work, or by
        SIGKILL once an event of this process is set.

        `settings` are values of module constants, by `module:name`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((function, dict(arguments), change, seconds, dict(settings or {})), self._process.stdin)
        self._process.stdin.flush()
        pid = pickle.load(self._process.stdout)
        if signalled is not None:
            assert signalled.wait(600)
            os.kill(pid, signal.SIGKILL)
        return Life(*pickle.load(self._process.stdout))

    def die_until_done(
        self,
        function: str,
        arguments: Mapping[str, Any],
        whole: Life,
        *,
        draw: random.Random,
        deaths: int,
        settings: Mapping[str, Any] | None = None,
        after_death: Callable[[], None] = lambda: None,
    ) -> int:
        """Call it again and again, so often dying, then to its end; how often it died. `whole` is an undisturbed life.

        Raises `AssertionError` for a life that ends in anything but death or success.
        """
        died = 0
        for _ in range(deaths):
            ends: dict[str, Any] = {"change": draw.randint(1, max(1, whole.changes))}
            if draw.random() < 0.5:
                ends = {"seconds": draw.uniform(0.001, whole.seconds)}
            life = self.live(function, arguments, **ends, settings=settings)
            if life.status == 0:
                return died
            assert life.status in DEAD, life.said
            died += 1
            after_death()
        life = self.live(function, arguments, settings=settings)
        assert life.status == 0, life.said
        return died


def _changes_files(event: str, arguments: tuple[Any, ...]) -> bool:
    if event != "open":
        return event in CHANGES
    path, _, flags = arguments
    return not isinstance(path, int) and bool(flags & WRITES) and not str(path).startswith(("/dev/", "/proc/"))


def _call(
    function: str, arguments: Mapping[str, Any], change: int | None, seconds: float | None, settings: Mapping[str, Any]
) -> int:
    """In the fork: call it and return how many changes of files it made."""
    changes = 0

    def count(event: str, values: tuple[Any, ...]) -> None:
        nonlocal changes
        if _changes_files(event, values):
            changes += 1
            if changes == change:
                os.kill(os.getpid(), signal.SIGKILL)

    for name, value in settings.items():
        module, constant = name.split(":")
        setattr(importlib.import_module(module), constant, value)
    module, name = function.split(":")
    call = getattr(importlib.import_module(module), name)
    sys.addaudithook(count)
    if seconds is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF, which nobody handles, ends the process like SIGKILL
    call(**arguments)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return changes


def _forked(request: tuple[Any, ...]) -> tuple[int, int, float, str]:
    """A life, seen from outside."""
    changes_reader, changes_writer = os.pipe()
    heard, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for descriptor in (1, 2):
                os.dup2(say, descriptor)
            os.write(changes_writer, str(_call(*request)).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(changes_writer)
    os.close(say)
    pickle.dump(pid, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    with open(heard, "rb") as said, open(changes_reader, "rb") as number:  # noqa: PTH123
        words, changes = said.read().decode(errors="replace"), number.read()
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), int(changes or 0), used.ru_utime + used.ru_stime, words


def main(modules: list[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    requests, answers = io.BufferedReader(io.FileIO(0)), sys.stdout.buffer
    while requests.peek(1):
        pickle.dump(_forked(pickle.load(requests)), answers)
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
