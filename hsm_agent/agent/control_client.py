"""The client of the control socket (`control_socket.py`): blocking, for the command line, without an event loop."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

ANSWER_SECONDS = 60.0
"""How long the agent may take for an answer."""
MOST_ANSWER_BYTES = 256 * 1024**2
"""Of one answer; the status of 10,000 tokens takes 12 MB."""
LONGEST_PATH = 107  # sun_path of unix(7), less its final NUL
_SENDING_SECONDS = 5.0
_AGAIN_SECONDS = 0.002
_UCRED = struct.Struct("iII")
"""`struct ucred` of unix(7): pid, uid, gid."""


class ControlError(Exception):
    """The request can't be carried out; the text is for the operator."""


def ask(
    path: Path,
    verb: str,
    *,
    timeout_seconds: float = ANSWER_SECONDS + _SENDING_SECONDS,
    most_bytes: int = MOST_ANSWER_BYTES,
    **arguments: object,
) -> dict[str, Any]:
    """Ask the running agent; blocking, for the command line. Raises ControlError with what the operator should know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            _connect(client, path, timeout_seconds)
            client.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            with client.makefile("rb") as stream:
                line = stream.readline(most_bytes + 1)
        except PermissionError as error:
            raise ControlError(f"{path}: no permission: run as root, or as a member of the socket's group") from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ControlError(f"the agent is not running (nothing listens at {path})") from error
        except OSError as error:
            raise ControlError(f"{path}: {error}") from error
    if len(line) > most_bytes:
        raise ControlError(f"{path}: the answer is longer than {most_bytes} bytes")
    answer = _answer(line, path)
    if not answer.get("ok"):
        raise ControlError(str(answer.get("error", "refused without a reason")))
    return answer


def _answer(line: bytes, path: Path) -> dict[str, Any]:
    """Whoever listens may be another program: what it says is an answer in its form, or none."""
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise ControlError("the agent closed the connection without an answer; its log says why") from error
    except RecursionError as error:
        raise ControlError(f"{path}: the answer is nested too deeply") from error
    if not isinstance(answer, dict):
        raise ControlError(f"{path}: what answers there is no hsm-agent")
    return answer


def listener_pid(path: Path, *, timeout_seconds: float = _SENDING_SECONDS) -> int:
    """The process that listens at a control socket, as the kernel knows it (SO_PEERCRED). Raises ControlError.

    What the agent's account writes into a file could name any process.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            _connect(client, path, timeout_seconds)
            pid = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
        except OSError as error:
            raise ControlError(f"{path}: {error}") from error
    if pid <= 0:  # of another pid namespace
        raise ControlError(f"{path}: the agent behind it is in a container of its own")
    return int(pid)


def _connect(client: socket.socket, path: Path, timeout_seconds: float) -> None:
    """Connect although many others do at the same time.

    A full queue refuses a connection (EAGAIN), and the kernel keeps no order among those that wait: retrying often
    gets a place sooner than blocking.
    """
    client.settimeout(timeout_seconds)
    given_up = time.monotonic() + timeout_seconds
    while True:
        try:
            client.connect(str(path))
        except BlockingIOError:
            if time.monotonic() >= given_up:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return
