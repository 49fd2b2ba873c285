"""The source `kind: canary`: a signature with a key of its own, now and then. Off unless it is configured.

It must not try a wrong PIN twice (`signer.py`), nor load a module into this process (`collect/child_process.py`).
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceSettings
from hsm_agent.collect.canary.signer import Attempt, Job, PinRecordFile, Signer
from hsm_agent.collect.canary.verify import MechanismName
from hsm_agent.collect.child_common import CANARY_COMMAND, MEMORY_BYTES
from hsm_agent.collect.child_process import Launch, WorkerMemory
from hsm_agent.collect.series import Fact
from hsm_agent.settings.secret import Secret
from hsm_agent.settings.types import Environment, LocalPath, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_DAY = 86400.0
_CONFIRM_SECONDS = 15.0
_TIRED_AFTER = 5
_ONLY_THE_AGENT = "only the running agent signs: it knows whether the PIN was refused before"
_CALLS = (
    *("C_OpenSession", "C_OpenSession", "C_GetTokenInfo", "C_Login", "C_FindObjects"),
    *("C_SignInit", "C_Sign", "C_Logout", "C_CloseSession", "C_CloseSession"),
)


def _hexadecimal(text: str) -> str:
    plain = text.replace(":", "").lower()
    try:
        bytes.fromhex(plain)
    except ValueError:
        raise ValueError(f"not hexadecimal: {text!r} (write 0a1b2c)") from None
    return plain


class CanaryKey(Strict):
    """Which key: by label, by id, or by both."""

    label: Annotated[str, Field(min_length=1)] | None = None
    id: Annotated[str, Field(min_length=1), AfterValidator(_hexadecimal)] | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.label is None and self.id is None:
            raise ValueError("name at least one of label, id")
        return self

    @property
    def names(self) -> dict[str, str]:
        """What is given."""
        return {name: text for name, text in (("label", self.label), ("id", self.id)) if text is not None}


class CanarySettings(SourceSettings):
    """The key that signs, and how its token is reached."""

    kind: Literal["canary"]
    module: LocalPath
    environment: Environment = Field(default_factory=dict)
    token: Annotated[str, Field(min_length=1)]
    key: CanaryKey
    mechanism: MechanismName
    pin: Secret
    worker_memory: WorkerMemory = MEMORY_BYTES

    @field_validator("kind")
    @classmethod
    def _is_installed(cls, kind: str) -> str:
        # Looked for, not imported: only the canary's own process loads it.
        if importlib.util.find_spec("pkcs11") is None:
            raise ValueError("needs the package python-pkcs11, which is not installed: pip install hsm-agent[canary]")
        return kind

    def build(self, context: CollectorContext) -> Collector:
        return CanaryCollector(self, context)

    def about(self) -> Iterator[str]:
        """The module, the token and the key; of the PIN nothing."""
        missing = "" if self.module.exists() else " (the file does not exist)"
        yield f"{self.module}{missing}"
        key = " ".join(f"{name} {text}" for name, text in self.key.names.items())
        yield f"LOGS IN to token {self.token} and signs with key {key} by {self.mechanism}"

    def metrics_produced(self) -> Mapping[str, str]:
        return {"canary_ok": "", "canary_seconds": ""}

    def trusted_files(self) -> Mapping[str, Path]:
        return {"module": self.module}

    def job(self, command: Sequence[str]) -> Job:
        """What signing needs to know."""
        pin = self.pin.reveal()
        launch = Launch(
            source=self.name,
            command=command,
            environment=self.environment,
            memory_bytes=self.worker_memory,
            hide=pin,
        )
        return Job(
            launch=launch,
            module=str(self.module),
            token=self.token,
            key=self.key.names,
            mechanism=self.mechanism,
            pin=pin,
        )

    def pin_record(self, directory: Path) -> PinRecordFile:
        """The file that records whether this PIN was refused, for this key of this token."""
        names = [f"{name}={text}" for name, text in self.key.names.items()]
        return PinRecordFile(directory, self.name, (str(self.module), self.token, *names), self.pin.reveal())


class CanaryCollector(Collector):
    """Signs. Between two signatures it holds a process with the module loaded, and no session."""

    kind = "canary"

    def __init__(
        self, settings: CanarySettings, context: CollectorContext, *, command: Sequence[str] = CANARY_COMMAND
    ) -> None:
        """`command` starts the process in another way (in a private namespace, say)."""
        super().__init__(settings)
        self._settings = settings
        self._lasting = context.lasting
        self._failures = 0
        self._signer = Signer(settings.job(command), settings.pin_record(context.state_directory))
        self.children = self._signer.children

    async def poll(self) -> Poll:
        """Sign once. A signature that fails is a reading; SourceFailure is for what is no fault of the token's."""
        if not self._lasting:
            return self._poll_of(Attempt(untried=_ONLY_THE_AGENT))
        attempt = await self._signer.attempt(asyncio.get_running_loop().time() + self._settings.timeout)
        self._failures = self._failures + 1 if attempt.failed else 0
        return self._poll_of(attempt)

    def _poll_of(self, attempt: Attempt) -> Poll:
        ok = None if attempt.untried else int(not attempt.failed)
        reason = attempt.untried or (attempt.failed and "the canary did not sign")
        facts = Fact("canary_ok", ok, attempt.untried), Fact("canary_seconds", attempt.seconds, reason)
        readings = tuple(fact.reading(self.name, time.time(), resource=self._settings.token) for fact in facts)
        errors = tuple(line for line in (attempt.failed, attempt.untried if self._lasting else "") if line)
        calls = dict.fromkeys(_CALLS, 1) | {"C_OpenSession": 2, "C_CloseSession": 2} if not reason else {}
        return Poll(readings=readings, next_in_seconds=self._pause(), errors=errors, calls=calls, complete=not errors)

    def _pause(self) -> float:
        """Soon after a first failure, to confirm it; less often while it lasts."""
        if self._failures == 1:
            return min(self.every_seconds, _CONFIRM_SECONDS)
        return self.every_seconds * 2 if self._failures >= _TIRED_AFTER else self.every_seconds

    async def close(self) -> None:
        await self._signer.close()

    async def forget(self, resource: str) -> bool:
        """An operator forgets the alarm: a PIN that was refused may be tried once more."""
        return resource == self._settings.token and await self._signer.forget_pin()

    def calls_a_day(self) -> Mapping[str, float]:
        """How often each C call is made in a day while all is well."""
        times = _DAY / self.every_seconds
        return {name: _CALLS.count(name) * times for name in _CALLS}
