"""What becomes of a verb whose reader leaves, as `head` does once it has its lines."""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_STANDARD_OUTPUT = 1


class QuietGroup(click.Group):
    """A group of verbs that end as other programs do when nobody reads on: by SIGPIPE, without a word.

    click would exit with 1, which means more than that: of `poll`, that a source failed.
    """

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Help and version are printed here."""
        with _quiet_end():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """The verb itself."""
        with _quiet_end():
            return super().invoke(ctx)


@contextmanager
def _quiet_end() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        if not has_left():
            raise
        end()


def has_left() -> bool:
    """Whether standard output is a pipe or a socket that nobody reads any more."""
    looking = select.poll()
    looking.register(_STANDARD_OUTPUT, 0)
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in looking.poll(0))


def end() -> NoReturn:
    """End as by default at such a write. Python ignores the signal, since sockets of a program would end it, too."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(128 + signal.SIGPIPE)  # whoever started it has blocked the signal
