"""A program that uses a token: opens sessions, makes and destroys objects, mistypes PINs. A child process.

`python -m tests.peers.token_user MODULE LABEL` reads one JSON request a line and answers one line each. It stands
for the applications whose doings the agent watches, so it shares nothing with the agent but the token.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]


class TokenUser:
    """The parent's side: each method is one request. Blocks, so call it off an event loop."""

    def __init__(
        self, module: Path, label: str, *, environment: Mapping[str, str], pin: str = "", prefix: Sequence[str] = ()
    ) -> None:
        command = [*prefix, sys.executable, "-m", "tests.peers.token_user", str(module), label, pin]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Not by the working directory: entering another mount namespace loses it.
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), **environment},
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def _ask(self, what: str, **arguments: Any) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the token's user died with {self._child.wait(10)} while asked to {what}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{what}: {answer['error']}")
        return answer["ok"]

    def open_sessions(self, count: int, *, rw: bool = False) -> int:
        """Open that many more; returns how many this user holds now."""
        return int(self._ask("open", count=count, rw=rw))

    def close_sessions(self, count: int) -> int:
        return int(self._ask("close", count=count))

    def create_objects(self, count: int, *, size: int, private: bool = False) -> int:
        return int(self._ask("create", count=count, size=size, private=private))

    def destroy_objects(self, count: int | None = None) -> int:
        return int(self._ask("destroy", count=count))

    def mistype_pin(self) -> str:
        """Log in with a wrong PIN; returns the name of the error."""
        return str(self._ask("mistype"))

    def kill(self) -> None:
        """SIGKILL: what happens to a user's sessions when it dies."""
        self._child.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _User:
    """The child's side."""

    def __init__(self, module: str, label: str, pin: str) -> None:
        import pkcs11

        self._pkcs11 = pkcs11
        self._token = pkcs11.lib(module).get_token(token_label=label)
        self._pin = pin
        self._sessions: list[Any] = []
        self._objects: list[Any] = []
        self._writer: Any = None

    def open(self, *, count: int, rw: bool) -> int:
        self._sessions += [self._token.open(rw=rw) for _ in range(count)]
        return len(self._sessions)

    def close(self, *, count: int) -> int:
        for _ in range(min(count, len(self._sessions))):
            self._sessions.pop().close()
        return len(self._sessions)

    def create(self, *, count: int, size: int, private: bool) -> int:
        attribute = self._pkcs11.Attribute
        if self._writer is None:
            self._writer = self._token.open(rw=True, user_pin=self._pin)
        for _ in range(count):
            template = {
                attribute.CLASS: self._pkcs11.ObjectClass.DATA,
                attribute.TOKEN: True,
                attribute.PRIVATE: private,
                attribute.LABEL: f"object {len(self._objects)}",
                attribute.VALUE: os.urandom(size),
            }
            self._objects.append(self._writer.create_object(template))
        return len(self._objects)

    def destroy(self, *, count: int | None) -> int:
        for _ in range(len(self._objects) if count is None else min(count, len(self._objects))):
            self._objects.pop().destroy()
        return len(self._objects)

    def mistype(self) -> str:
        try:
            self._token.open(user_pin="wrong-pin"[:8]).close()
        except self._pkcs11.PKCS11Error as error:
            return type(error).__name__
        return ""


def main() -> None:
    user = _User(*sys.argv[1:4])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": getattr(user, request.pop("do"))(**request)}
        except user._pkcs11.PKCS11Error as error:
            answer = {"error": f"{type(error).__name__} {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
