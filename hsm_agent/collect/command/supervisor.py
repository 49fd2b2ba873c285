"""Runs one command below a supervisor: a program of its own, standard library only.

`python -I -S supervisor.py EXECUTABLE ARGV…`, with a pipe as standard input. It ends as the command ends. When the
other end of the pipe is closed, on purpose or because the agent was killed, everything the command started is killed
first, also what has left its process group. It does not read the command's output.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # -I keeps the package off the search path
    sys.path.append(str(Path(__file__).resolve().parents[3]))

from hsm_agent.workers.supervisor import Supervisor, become_supervisor, die_with, prefer_for_oom_kill

CANNOT_START = 127
"""Exit status for a command that could not be executed, as in the shell; the reason is on standard error."""
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A service manager that stops the agent signals all its processes: the agent decides when this one is to end."""


def execute(supervisor: int, path: str, argv: list[str]) -> None:
    """Become the command: in a process group of its own, with nothing to read, and killed with the supervisor."""
    os.setpgid(0, 0)
    die_with(supervisor, CANNOT_START)
    prefer_for_oom_kill()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for number in (signal.SIGPIPE, signal.SIGCHLD, *_IGNORED):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, argv, os.environ)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(2, f"{path} cannot be executed: {error.strerror}\n".encode())
        os._exit(CANNOT_START)


def main() -> None:
    """Run the command in the arguments."""
    path, argv = sys.argv[1], sys.argv[2:]
    bell = become_supervisor(handled=(), ignored=_IGNORED)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        execute(supervisor, path, argv)
    Supervisor(child, bell).run()


if __name__ == "__main__":
    main()
