"""Fault injection for code that writes files: kill or fail at the k-th system call that changes anything.

Every change of the store goes through functions of `os`, so counting those is counting its mutating system calls (a
test compares the count with strace's). `killed_at` runs work in a forked child that dies just before its k-th such
call, as SIGKILL does; `failing_from` makes every such call from the k-th on fail, as a full disk does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from typing import Any

__all__ = ["FILLING", "MUTATING", "calls_of", "counted", "failing_from", "kill_points", "killed_at"]

MUTATING = (
    "write", "pwrite", "ftruncate", "fsync", "fdatasync", "rename", "replace", "unlink", "remove", "rmdir", "mkdir",
    "link", "symlink",
)  # fmt: skip
"""Functions of `os` that change files, or what of them survives a power loss."""
FILLING = ("write", "pwrite", "mkdir", "link", "fsync", "fdatasync")
"""Those of them that a full or failing disk refuses."""


@contextlib.contextmanager
def counted(before: Callable[[int, str, tuple[Any, ...]], None]) -> Generator[None]:
    """Call `before(number, name, arguments)` ahead of every mutating call of this process, numbered from 0."""
    real = {name: getattr(os, name) for name in MUTATING}
    count = 0

    def watched(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            before(count - 1, name, arguments)
            return real[name](*arguments, **named)

        return call

    try:
        for name in real:
            setattr(os, name, watched(name))
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def calls_of(work: Callable[[], object]) -> list[str]:
    """Names of the mutating calls that `work` makes, in order; it really runs."""
    names: list[str] = []
    with counted(lambda number, name, arguments: names.append(name)):
        work()
    return names


def killed_at(work: Callable[[], object], point: int) -> bool:
    """Run `work` in a forked child that dies before its mutating call number `point`; whether it got that far.

    Raises:
        RuntimeError: The work failed by itself; its traceback is on stderr.
    """

    def die(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if number == point:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            with counted(die):
                work()
        except BaseException:  # a forked child must not run the parent's handlers
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status:
        raise RuntimeError(f"The work failed by itself (status {status}) before point {point}.")
    return False


def kill_points(prepare: Callable[[], object], work: Callable[[], object]) -> Iterator[int]:
    """Kill `work` at every one of its mutating calls in turn; yields after each death, for checks.

    Args:
        prepare: Puts everything into the state before the work, in this process.
        work: Runs in a child.
    """
    point = 0
    while True:
        prepare()
        if not killed_at(work, point):
            return
        yield point
        point += 1


@contextlib.contextmanager
def failing_from(point: int, code: int = errno.ENOSPC) -> Generator[list[str]]:
    """From the `point`-th call of `FILLING` on all of them fail with `code`; gives the names of those that failed."""
    failed: list[str] = []
    seen = 0

    def refuse(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if name not in FILLING:
            return
        seen += 1
        if seen > point:
            failed.append(name)
            raise OSError(code, os.strerror(code))

    with counted(refuse):
        yield failed
