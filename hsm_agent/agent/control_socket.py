"""The control socket: how the other verbs of the command line talk to the running agent.

One request a connection: a JSON object `{"verb": …, …}` on one line, answered by one JSON object on one line,
`{"ok": true, …}` or `{"ok": false, "error": …}`. Everybody who may open
the socket (0660: its group) may read; changes need the agent's uid or root, as the kernel reports it (SO_PEERCRED).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hsm_agent.agent.control_client import ANSWER_SECONDS, LONGEST_PATH, ControlError
from hsm_agent.log import SparingLog
from hsm_agent.serve.status import json_bytes
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

LONGEST_REQUEST = 64 * 1024
REQUEST_SECONDS = 5.0
MOST_CLIENTS = 32
"""At a time: of root and the agent's own uid together, and as many of all others."""
MOST_CLIENTS_OF_A_UID = 8
_DISK_SECONDS = 10.0
_LAST_SECONDS = 0.5
_QUEUE = 100
_ACCEPTS_A_TURN = 64
_REST_SECONDS = 1.0
_TOO_MANY = b'{"ok": false, "error": "too many requests at a time; try again"}\n'
_LARGE_ANSWERS = 2
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the socket: its handler, whether it changes anything, and how many seconds it may take."""

    handle: Callable[[Mapping[str, Any], int], Coroutine[Any, Any, dict[str, Any]]]
    changes_state: bool
    seconds: float = 20.0


class ControlServer:
    """Serves verbs on a Unix socket. Handlers get the request and the caller's uid; they raise ControlError."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb], *, request_seconds: float = REQUEST_SECONDS) -> None:
        """`request_seconds`: how long a client may take to send its request, and to take the answer."""
        self._path = path
        self._verbs = verbs
        self._request_seconds = request_seconds
        self._listener: socket.socket | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._clients: Counter[int] = Counter()
        self._own = frozenset((0, os.geteuid()))
        # Answers of reading verbs can be large: bound how many are in memory, operators' and others' apart.
        self._large = {own: asyncio.Semaphore(_LARGE_ANSWERS) for own in (True, False)}
        self._writing = Lane("control socket: writing an answer")
        self._disk = Lane(f"agent.control_socket: {path}")
        self._late: set[asyncio.Task[dict[str, Any]]] = set()
        self._refusals = SparingLog(log)

    async def start(self) -> None:
        """Listen. Raises OSError naming the path."""
        if len(os.fsencode(self._path)) > LONGEST_PATH:
            raise OSError(
                f"agent.control_socket: {self._path}: longer than a socket path may be ({LONGEST_PATH} bytes)"
            )
        self._listener = await self._disk.call(self._bind, seconds=_DISK_SECONDS)
        self._listener.setblocking(False)
        self._listener.listen(_QUEUE)
        self._listen(self._listener)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        with suppress(FileNotFoundError, StuckError):  # what stays is removed by the next start
            await self._disk.call(self._path.unlink, seconds=_LAST_SECONDS)

    def _bind(self) -> socket.socket:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise OSError(f"agent.control_socket: {self._path}: there is something else of that name")
            self._path.unlink()  # left by an agent that was killed; the spool's lock proves that none is running
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o660)  # before it listens: until then nobody can connect, whatever the umask was
        except OSError as error:
            listener.close()
            raise OSError(f"agent.control_socket: {self._path}: {error.strerror}") from error
        return listener

    def _listen(self, listener: socket.socket) -> None:
        if listener is self._listener:  # not closed meanwhile
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept waiting connections. A refusal must be cheap, or a client that connects in a loop fills the queue."""
        for _ in range(_ACCEPTS_A_TURN):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor is left: the socket stays readable, so accept must pause
                log.warning("the control socket accepts nobody for a moment: %s", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(_REST_SECONDS, self._listen, listener)
                return
            uid = _peer_uid(client)
            if self._has_room(uid):
                self._clients[uid] += 1
                task = asyncio.ensure_future(self._serve(client, uid))
                self._serving.add(task)
                task.add_done_callback(self._serving.discard)
            else:
                self._refuse(client, uid)

    def _refuse(self, client: socket.socket, uid: int) -> None:
        self._refusals.warning("refused a connection of uid %d: it has too many at a time", uid, peer=str(uid))
        with client, suppress(OSError):
            client.setblocking(False)
            client.send(_TOO_MANY)

    async def _serve(self, client: socket.socket, uid: int) -> None:
        try:
            client.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=client, limit=LONGEST_REQUEST)
            await self._serve_connection(reader, writer, uid)
        finally:
            self._clients[uid] -= 1
            self._clients += Counter()  # forgets those that have none

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # drained means: all of it is with the kernel
        try:
            await self._answer_request(reader, writer, uid)
        except (OSError, TimeoutError):
            log.debug("a client of the control socket went away")
            writer.transport.abort()  # closing would wait for ever for one that does not read
        finally:
            writer.close()

    def _has_room(self, uid: int) -> bool:
        """Bound connections by uid: clients that may only read must not use up descriptors or operators' places."""
        if uid in self._own:
            return sum(self._clients[each] for each in self._own) < MOST_CLIENTS
        others = sum(count for each, count in self._clients.items() if each not in self._own)
        return others < MOST_CLIENTS and self._clients[uid] < MOST_CLIENTS_OF_A_UID

    async def _answer_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int) -> None:
        try:
            async with asyncio.timeout(self._request_seconds):
                request = json.loads(await reader.readline())
        except (ValueError, RecursionError, TimeoutError):
            await self._send(writer, _error("not a request: one JSON object on one line was expected"))
            return
        verb = self._verbs.get(str(request.get("verb"))) if isinstance(request, dict) else None
        if verb is None:
            await self._send(writer, _error("unknown verb; is the running agent of another version?"))
        elif verb.changes_state and uid not in self._own:
            self._refusals.warning("refused %s to uid %d", request["verb"], uid, peer=str(uid))
            await self._send(writer, _error(f"refused: {request['verb']} needs root or uid {os.geteuid()}"))
        elif verb.changes_state:
            await self._send(writer, await self._answer(verb, request, uid))
        else:
            async with self._large[uid in self._own]:
                await self._send(writer, await self._answer(verb, request, uid))

    async def _send(self, writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
        # On a thread: encoding the status of a thousand tokens takes longer than the event loop may be blocked.
        whole = memoryview(await self._writing.call(partial(json_bytes, answer), seconds=ANSWER_SECONDS))
        async with asyncio.timeout(self._request_seconds):
            for begin in range(0, len(whole), _PIECE):  # a transport copies what it is given
                writer.write(whole[begin : begin + _PIECE])
                await writer.drain()
            writer.write(b"\n")
            await writer.drain()

    async def _answer(self, verb: Verb, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        """Run the handler within its time. A handler that ignores its cancellation is left to itself."""
        task = asyncio.ensure_future(verb.handle(request, uid))
        try:
            await asyncio.wait((task,), timeout=verb.seconds)
        finally:
            if not task.done():
                task.cancel()
                self._late.add(task)
                task.add_done_callback(self._forget)
        if not task.done():
            log.warning("no result of %s within %g s", request["verb"], verb.seconds)
            return _error(
                f"no result within {verb.seconds:g} s{'; it may still take effect' if verb.changes_state else ''}"
            )
        try:
            return {"ok": True, **task.result()}
        except (ControlError, StuckError) as error:
            return _error(str(error))

    def _forget(self, task: asyncio.Task[dict[str, Any]]) -> None:
        self._late.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a request that was not waited for any more failed: %s", error)


def _error(text: str) -> dict[str, Any]:
    return {"ok": False, "error": text}


def _peer_uid(client: socket.socket) -> int:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
