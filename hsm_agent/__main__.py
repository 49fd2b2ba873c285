"""`python -m hsm_agent` is the command `hsm-agent`."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

_FAILED, _UNKNOWN = 1, 3
"""Exit codes where an answer could not be printed; the second is the plugin guidelines'."""


def main() -> None:
    """The entry point.

    Two verbs go their own way without click: the Nagios plugin starts every few minutes, and the daemon stays.
    """
    match sys.argv[1:]:
        case ["check", *rest]:
            from hsm_agent.cli.check import main as check

            _print(lambda: sys.exit(check(rest)), _UNKNOWN)
        case ["run", "-c" | "--config", file] if not file.startswith("-"):
            from pathlib import Path

            from hsm_agent.cli import run

            run(Path(file))
        case _:
            from hsm_agent.cli.main import main as command

            _print(command, _FAILED)


def _print(verb: Callable[[], None], code: int) -> None:
    """Run a verb; where standard output can't be written, exit with `code` and one line on standard error."""
    if sys.stdout is None:  # the caller closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - open until the end, as standard output is
    try:
        try:
            verb()
        finally:
            sys.stdout.flush()  # what is left to the end of the interpreter fails with a traceback and exit code 120
    except OSError as error:
        if error.filename is not None:
            raise  # a file's error: only standard output, open from the start, has no name
        if isinstance(error, BrokenPipeError) and code == _FAILED:
            from hsm_agent.cli.reader import end, has_left

            if has_left():
                end()
        _discard(sys.stdout)
        try:
            print(f"hsm-agent: standard output: {error.strerror}", file=sys.stderr)  # noqa: T201 - for the operator
        except OSError:  # often both are the same file
            _discard(sys.stderr)
        sys.exit(code)


def _discard(stream: TextIO) -> None:
    """Send what is still buffered nowhere, or the interpreter would fail to write it once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    main()
