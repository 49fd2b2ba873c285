"""One run of a command: no shell, a deadline, a bound on what it may print, and nothing left of it afterwards.

It must not block the event loop, nor look into what the command printed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hsm_agent import workers
from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child_common import clean_environment
from hsm_agent.collect.command.parsers.text import lines_of, one_line, words_of
from hsm_agent.collect.pipes import ERRORS, Throttle
from hsm_agent.settings.trust import UntrustedError, refuse_untrusted, trusted_uids
from hsm_agent.threads import Lanes, StuckError, deadline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

_SUPERVISOR = (sys.executable, "-I", "-S", str(Path(workers.__file__).with_name("supervisor.py")))
_REAP_SECONDS = 3.0
_KEPT_ERROR_BYTES = 16 * 1024
_KEPT_OUTPUT_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 160
_NAMED_CHARACTERS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What a command printed on standard output before it ended with exit status 0, and how long that took."""

    output: bytes
    seconds: float


def find(word: str, environment: Mapping[str, str]) -> Path | None:
    """The executable a command's first word means: a path as it is, a bare name by PATH. None if there is none."""
    found = shutil.which(word, path=clean_environment(environment)["PATH"])
    return None if found is None else Path(found)


def name_of(words: Sequence[str]) -> str:
    """A command in so few words that what comes after them is read: its name, and the last of its arguments."""
    name, rest = Path(words[0]).name, " ".join(words[1:])
    if len(rest) > _NAMED_CHARACTERS:
        rest = f"… {rest[-_NAMED_CHARACTERS:].partition(' ')[2] or rest[-_NAMED_CHARACTERS:]}"
    return one_line(f"{name} {rest}".rstrip())


def _executable(word: str, environment: Mapping[str, str]) -> Path:
    """As `find`, looked at anew at each run. Raises SourceFailure where it must not be run."""
    path = find(word, environment)
    if path is None:
        raise SourceFailure(f"{one_line(word)} cannot be run: no such executable; install it or correct `command`")
    try:
        refuse_untrusted(path, trusted_uids(os.environ))
    except UntrustedError as error:
        raise SourceFailure(f"{path} is not run: {error}") from error
    except OSError as error:
        raise SourceFailure(f"{path} cannot be run: {error.strerror}") from error
    return path


class _Pipes(asyncio.SubprocessProtocol):
    def __init__(self, most_bytes: int) -> None:
        self.output = bytearray()
        self.errors = bytearray()
        self.done = asyncio.Event()
        """Set when the command has ended, or has printed too much."""
        self.gone = asyncio.Event()
        self._most_bytes = most_bytes
        self._transport: asyncio.BaseTransport | None = None
        self._throttle = Throttle()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    @property
    def too_much(self) -> bool:
        return len(self.output) > self._most_bytes

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1 and not self.too_much:  # one chunk beyond the bound is kept: that shows that there was too much
            self.output += data
        elif fd == ERRORS:
            # Read on and dropped: a command that blocks on a full pipe would seem to hang.
            if len(self.errors) < _KEPT_ERROR_BYTES:
                self.errors += data
            if isinstance(self._transport, asyncio.SubprocessTransport):
                self._throttle.took(len(data), self._transport.get_pipe_transport(ERRORS))
        if self.too_much:
            self.done.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.done.set()
        self.gone.set()


class CommandRunner:
    """Runs one command at a time."""

    def __init__(self, environment: Mapping[str, str], most_bytes: int) -> None:
        self._environment = dict(environment)
        self._most_bytes = most_bytes
        self._transport: asyncio.SubprocessTransport | None = None
        self._pipes: _Pipes | None = None
        self._looking = Lanes()

    def pids(self) -> tuple[int, ...]:
        """The process that keeps the command, while one runs."""
        return () if self._transport is None else (self._transport.get_pid(),)

    async def run(self, words: Sequence[str], seconds: float) -> Printed:
        """What the command prints. Raises SourceFailure unless it ends with 0 within that time and that many bytes."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        pipes = _Pipes(self._most_bytes)
        path = await self._find(words, seconds)
        try:
            async with asyncio.timeout_at(began + max(0.0, seconds)):
                transport = await self._start(path, words, pipes)
                await pipes.done.wait()
        except TimeoutError:
            raise SourceFailure(
                f"{name_of(words)} did not end within {seconds:.3g} s and was killed: check the device and the way "
                f"to it, or give more `timeout`{_printed(pipes)}"
            ) from None
        finally:
            await self.kill()
        if pipes.too_much:
            raise SourceFailure(
                f"{name_of(words)} printed more than {self._most_bytes} bytes and was killed: check what it runs, or "
                "raise `output_limit`"
            )
        code = transport.get_returncode()
        if code != 0:
            raise SourceFailure(f"{name_of(words)} {_end(code)}{_printed(pipes)}")
        return Printed(output=bytes(pipes.output), seconds=loop.time() - began)

    async def _find(self, words: Sequence[str], seconds: float) -> Path:
        """On a thread, as file systems can hang."""
        work = partial(_executable, words[0], self._environment)
        try:
            return await self._looking.call(words[0], f"the look for {one_line(words[0])}", work, seconds=seconds)
        except StuckError as error:
            raise SourceFailure(f"{name_of(words)} cannot be run: {error}: check the file system it is on") from error

    async def _start(self, path: Path, words: Sequence[str], pipes: _Pipes) -> asyncio.SubprocessTransport:
        try:
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: pipes,
                *_SUPERVISOR,
                str(path),
                *words,
                env=clean_environment(self._environment),
                cwd="/",
                start_new_session=True,  # no terminal to ask a pass-phrase at, and a ^C is not for it
            )
        except (OSError, ValueError) as error:
            raise SourceFailure(f"{name_of(words)} cannot be started: {error}") from error
        self._transport, self._pipes = transport, pipes
        return transport

    async def kill(self) -> None:
        """End what runs, and everything it started."""
        transport, pipes = self._transport, self._pipes
        if transport is None or pipes is None:
            return
        lifeline = transport.get_pipe_transport(0)
        if lifeline is not None:
            lifeline.close()
        if not await _gone(pipes):
            transport.kill()  # the command dies with its supervisor
            if not await _gone(pipes):
                log.warning("command process %s is stuck in the kernel and cannot be reaped", transport.get_pid())
        transport.close()
        self._transport = self._pipes = None
        # The pipes' own callbacks run on the loop's next turn; nothing of this run is to outlive this call.
        await asyncio.sleep(0)


async def _gone(pipes: _Pipes) -> bool:
    try:
        async with deadline(_REAP_SECONDS):
            await pipes.gone.wait()
    except TimeoutError:
        return False
    return True


def _end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by signal {-code}"
    return f"ended with exit status {code}"


def _printed(pipes: _Pipes) -> str:
    """The first line of standard error, and the last one, as banners come first; and the device's own words."""
    lines = _lines(bytes(pipes.errors))
    ends = " … ".join(dict.fromkeys((*lines[:1], *lines[-1:])))
    words = words_of(lines_of(bytes(pipes.output[:_KEPT_OUTPUT_BYTES]).decode("utf-8", "replace")))
    return "".join(f": {one}" for one in (ends, words) if one)


def _lines(data: bytes) -> list[str]:
    found = (one_line(line.decode("utf-8", "replace"), _SHOWN_CHARACTERS) for line in data.splitlines())
    return [line for line in found if line]
