"""The control socket: how the other verbs of the command line talk to the running agent.

One request a connection: a JSON object `{"verb": …, …}` on one line, answered by one JSON object on one line,
`{"ok": true, …}` or `{"ok": false, "error": …}`. Reading is for whoever may open the socket (0660: its group);
acting needs the agent's uid or root, checked by the kernel's word (SO_PEERCRED), never by the client's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.serve.json_pieces import octets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

LONGEST_REQUEST = 64 * 1024
REQUEST_SECONDS = 5.0
ANSWER_SECONDS = 60.0
MOST_CLIENTS = 32
LONGEST_PATH = 107  # sun_path of unix(7), less its final NUL


class ControlError(Exception):
    """The request can't be carried out; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the socket: what carries it out, and whether it acts or only reads."""

    handle: Callable[[Mapping[str, Any], int], Awaitable[dict[str, Any]]]
    acts: bool


class ControlServer:
    """Serves verbs on a Unix socket. Handlers get the request and the caller's uid; they raise ControlError."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._verbs = verbs
        self._server: asyncio.Server | None = None
        self._clients = 0

    async def start(self) -> None:
        """Listen. Raises OSError naming the path."""
        if len(os.fsencode(self._path)) > LONGEST_PATH:
            raise OSError(
                f"agent.control_socket: {self._path}: longer than a socket path may be ({LONGEST_PATH} bytes)"
            )
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise OSError(f"agent.control_socket: {self._path}: there is something else of that name")
            self._path.unlink()  # left by an agent that was killed; the spool's lock proves that none is running
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o117)
        try:
            listener.bind(str(self._path))
        except OSError as error:
            listener.close()
            raise OSError(f"agent.control_socket: {self._path}: {error.strerror}") from error
        finally:
            os.umask(old)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LONGEST_REQUEST)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        with suppress(FileNotFoundError):
            self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._clients >= MOST_CLIENTS:  # whoever may only read must not use up the agent's descriptors
            writer.write(b'{"ok": false, "error": "too many requests at a time; try again"}\n')
            writer.close()
            return
        self._clients += 1
        writer.transport.set_write_buffer_limits(high=0)  # drained means: all of it is with the kernel
        try:
            answer = await self._answer(reader, _peer_uid(writer))
            # In a thread: the status of a thousand tokens takes longer to write than the loop may be held up.
            writer.write(await asyncio.to_thread(octets, answer) + b"\n")
            async with asyncio.timeout(REQUEST_SECONDS):
                await writer.drain()
        except (OSError, TimeoutError):
            log.debug("a client of the control socket went away")
            writer.transport.abort()  # closing would wait for ever for one that does not read
        finally:
            self._clients -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, uid: int) -> dict[str, Any]:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = json.loads(await reader.readline())
        except (ValueError, RecursionError, TimeoutError):
            return {"ok": False, "error": "not a request: one JSON object on one line was expected"}
        verb = self._verbs.get(str(request.get("verb"))) if isinstance(request, dict) else None
        if verb is None:
            return {"ok": False, "error": "unknown verb; is the running agent of another version?"}
        if verb.acts and uid not in (0, os.geteuid()):
            log.warning("refused %s to uid %d", request["verb"], uid)
            return {"ok": False, "error": f"refused: {request['verb']} needs root or uid {os.geteuid()}"}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return {"ok": True, **await verb.handle(request, uid)}
        except ControlError as error:
            return {"ok": False, "error": str(error)}
        except TimeoutError:
            return {"ok": False, "error": f"no result within {ANSWER_SECONDS:.0f} s"}


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


def ask(
    path: Path, verb: str, *, timeout_seconds: float = ANSWER_SECONDS + REQUEST_SECONDS, **arguments: object
) -> dict[str, Any]:
    """Ask the running agent; blocking, for the command line. Raises ControlError with what the operator should know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_seconds)
        try:
            client.connect(str(path))
            client.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            with client.makefile("rb") as stream:
                line = stream.readline()
        except PermissionError as error:
            raise ControlError(f"{path}: no permission: run as root, or as a member of the socket's group") from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ControlError(f"the agent is not running (nothing listens at {path})") from error
        except OSError as error:
            raise ControlError(f"{path}: {error}") from error
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise ControlError("the agent closed the connection without an answer; its log says why") from error
    if not answer.get("ok"):
        raise ControlError(str(answer.get("error", "refused without a reason")))
    return dict(answer)
