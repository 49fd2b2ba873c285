"""One sweep of a module's tokens without an event loop, for the Nagios plugin, which lives for a tenth of a second.

It asks a worker as `fetch.py` does, and recovers from nothing: where a worker is lost, lies, or a call fails, the
caller reads the module by `fetch.py` instead. It must not import asyncio or pydantic: they take longer than the sweep.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self

from hsm_agent.collect.child_common import (
    MEMORY_BYTES,
    POLITE_SECONDS,
    REAP_SECONDS,
    arguments,
    hung_text,
    new_page,
    worker_environment,
)
from hsm_agent.workers import current_call
from hsm_agent.workers.pkcs11.return_values import ABSENT, OK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_READ_BYTES = 64 * 1024
_MOST_ANSWER_BYTES = 1024 * 1024
_ANSWER_LENGTH = 5
_LOOK_SECONDS = 0.001


class SweepFailed(Exception):
    """Something went wrong that is for `fetch.py` to put right, or to name."""


class SweepHung(Exception):
    """A call took all the time there was; the text says which."""


class SingleSweep:
    """A worker that is asked once. It begins at construction, so that the caller can get ready meanwhile."""

    def __init__(self, module: str, timeout_seconds: float) -> None:
        """Raises OSError where no process can be started."""
        self._module = module
        self._deadline = time.monotonic() + timeout_seconds
        self._received = b""
        self._is_hung = self._has_ended = False
        self._answers: list[Any] = []
        _open_standard_descriptors()
        descriptor, self._page = new_page()
        try:
            self._pid, self._requests, self._pipe = _fork(descriptor)
        finally:
            os.close(descriptor)
        # Both at once, and read later: the worker loads the module while the caller imports what it needs to judge.
        self._send({"do": "load", "module": module, "luna": False, "reserved": None})
        self._send({"do": "slots"})

    def __enter__(self) -> Self:
        """Leaving it, the worker ends."""
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def seconds_left(self) -> float:
        """Of the time given."""
        return self._deadline - time.monotonic()

    def read(self) -> dict[str, Any]:
        """The raw result, as of `fetch.py` (see `recording.py`). Raises SweepFailed or SweepHung."""
        failed: list[list[Any]] = []
        results: list[list[Any]] = []
        loaded = self._mapping()
        slots = self._mapping().get("slots")
        if "stage" in loaded or not isinstance(slots, list):
            raise SweepFailed("the module cannot be loaded or lists no slots")
        self._send({"do": "read", "steps": [["token", slot] for slot in slots]})
        for position, slot in enumerate(slots):
            is_last = position == len(slots) - 1
            try:
                results.append(self._result(slot, self.seconds_left if is_last else self.seconds_left / 2))
            except SweepHung as hung:
                if not is_last:  # there is time for a fresh worker to read the others
                    raise SweepFailed(str(hung)) from hung
                failed.append(["token", slot, str(hung)])
        return {
            "module": self._module,
            "time": time.time(),
            "ulong": loaded.get("ulong", 8),
            "info": loaded.get("info", ""),
            "functions": [],
            "process": 1,
            "slots": slots,
            "results": results,
            "failed": failed,
            "fill": None,
            "notes": [],
        }

    def _mapping(self) -> dict[str, Any]:
        found = self._answer(self.seconds_left)
        if not isinstance(found, dict):
            raise SweepFailed("what came from the worker is no answer")
        return found

    def _result(self, slot: int, seconds: float) -> list[Any]:
        found = self._answer(seconds)
        if not isinstance(found, list) or len(found) != _ANSWER_LENGTH or found[:2] != ["token", slot]:
            raise SweepFailed("what came from the worker is no answer")
        if any(value != OK and value not in ABSENT for _, value, _ in found[3]):
            raise SweepFailed("a call failed")
        return found

    def _send(self, request: Mapping[str, Any]) -> None:
        """Ask. A worker that is gone, or reads nothing within the time left, answers nothing, which is noticed then."""
        data = json.dumps(request).encode() + b"\n"
        poller = select.poll()
        poller.register(self._requests, select.POLLOUT)
        # The steps of some thousand slots are more than a pipe holds.
        while data and poller.poll(max(0.0, self.seconds_left) * 1000):
            try:
                data = data[os.write(self._requests, data) :]
            except BrokenPipeError:
                return
        self._is_hung = self._is_hung or bool(data)

    def _answer(self, seconds: float) -> Any:
        """The next answer; SweepHung where there is none in time."""
        until = time.monotonic() + seconds
        poller = select.poll()
        poller.register(self._pipe, select.POLLIN)
        while not self._answers:
            if not poller.poll(max(0.0, until - time.monotonic()) * 1000):
                self._is_hung = True
                raise SweepHung(hung_text(*current_call(self._page), seconds))
            data = os.read(self._pipe, _READ_BYTES)
            self._received += data
            if not data or len(self._received) > _MOST_ANSWER_BYTES:
                raise SweepFailed("the worker ended, or writes without end")
            *lines, self._received = self._received.split(b"\n")
            for line in lines:
                self._take(line)
        return self._answers.pop(0)

    def _take(self, line: bytes) -> None:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SweepFailed("what came from the worker is no answer") from error
        if not isinstance(found, list):
            raise SweepFailed("what came from the worker is no answer")
        self._answers += found

    def ask_to_end(self) -> None:
        """Let the module finalise, so that the HSM's server sees us leave; `end` waits for it."""
        self._send({"do": "end"})

    def end(self) -> None:
        """Wait a moment for the end; then kill whatever is left of the worker."""
        if self._has_ended:
            return
        self._has_ended = True
        if not self._ended(0.0 if self._is_hung else POLITE_SECONDS):
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)  # to the supervisor, which kills all there is
            self._ended(REAP_SECONDS)
        for descriptor in (self._requests, self._pipe):
            os.close(descriptor)

    def _ended(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self._lives():
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def _lives(self) -> bool:
        try:
            return os.waitpid(self._pid, os.WNOHANG)[0] == 0
        except ChildProcessError:  # whoever started the plugin ignores SIGCHLD: the kernel has reaped it
            return False


def _open_standard_descriptors() -> None:
    """Where the caller has closed standard descriptors, pipes would get their numbers, and be closed in the worker."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error
        pass
    os.close(descriptor)


def _fork(page_descriptor: int) -> tuple[int, int, int]:
    """The worker's supervisor, the pipe for requests, and the pipe for answers.

    Forked, not executed: an interpreter takes as long to start as everything else here together. This process has no
    threads, and nothing of a vendor's in it.
    """
    their_requests, requests = os.pipe()
    answers, their_answers = os.pipe()
    os.set_blocking(requests, False)
    words = arguments(page_descriptor, MEMORY_BYTES)
    try:
        pid = os.fork()
        if pid == 0:
            os.close(requests)
            os.close(answers)
            _work(their_requests, their_answers, words)
    finally:
        os.close(their_requests)
        os.close(their_answers)
    return pid, requests, answers


def _work(requests: int, answers: int, words: Sequence[str]) -> NoReturn:
    """Become a worker. What the module prints is dropped: where it matters, `fetch.py` reads it."""
    try:
        for number, descriptor in enumerate((requests, answers, os.open(os.devnull, os.O_WRONLY))):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.update(worker_environment(os.environ))
        sys.argv[1:] = words
        from hsm_agent.workers.pkcs11.__main__ import main  # noqa: PLC0415 - the parent does not need it

        main()
    finally:
        os._exit(1)
