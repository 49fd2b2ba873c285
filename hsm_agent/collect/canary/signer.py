"""One attempt after the other to sign: which PIN may be tried, and what a process that hangs or dies means.

It must not try a wrong PIN twice, whatever restarts in between: whether a PIN was refused is recorded on disk.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import os
import re
import time
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.canary import verify
from hsm_agent.collect.child_process import ChildLost, Children
from hsm_agent.state import files as state_file
from hsm_agent.threads import Lane, StuckError
from hsm_agent.workers.pkcs11.return_values import LOG_FULL, LUNA_MANUFACTURERS, name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.collect.canary.verify import MechanismName
    from hsm_agent.collect.child_process import Launch

T = TypeVar("T")

PIN_ERRORS = frozenset({"PinIncorrect", "PinInvalid", "PinLenRange", "PinExpired", "PinLocked"})
"""python-pkcs11's names of the answers after which a PIN is not tried again."""
_NOT_THE_PIN = frozenset(
    {
        *("DeviceError", "DeviceMemory", "DeviceRemoved", "HostMemory", "TokenNotPresent", "TokenNotRecognised"),
        *("SessionClosed", "SessionCount", "SessionHandleInvalid", "SessionReadOnlyExists", "SlotIDInvalid"),
        *("UserPinNotInitialized", "UserTooManyTypes", "AnotherUserAlreadyLoggedIn", "UserAlreadyLoggedIn"),
        *("FunctionNotSupported", "OperationActive", "ArgumentsBad"),
    }
)
"""Answers to C_Login with which a token has neither compared nor counted the PIN."""
_OWN_ERRORS = frozenset({"NoSuchKey", "NoSuchToken", "MultipleObjectsReturned", "MultipleTokensReturned"})
_UNMAPPED = re.compile(r"0x([0-9a-fA-F]+)")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONGEST = 200
_CHECK = {
    "PinLocked": "have the security officer unlock it",
    "PinExpired": "set a new PIN",
    "UserPinNotInitialized": "set the user's PIN on the token",
    "TokenNotPresent": "check the HSM and the link to it",
    "DeviceError": "check the HSM",
    "DeviceRemoved": "check the HSM",
    "MechanismInvalid": "the token does not offer this mechanism: choose another",
    "KeyTypeInconsistent": "the key does not belong to this mechanism",
    "NoSuchToken": "check `token`, and that the partition is still assigned",
}
_OTHER_KEY = "check `key`"
_LOG_FULL = "the audit store is full and the HSM refuses all cryptography: drain it now"
_RECORD_SECONDS = 5.0
_CHECK_SECONDS = 60.0
_FINAL_TRY, _LOCKED = 0x20000, 0x40000  # CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED
_AFTER_LOGIN = frozenset({"C_FindObjects", "C_Sign", "C_Logout"})
_LAST_TRY = "the token's flags say that one try of the PIN is left, and the canary does not take it"
_COST, _BLOCK, _PARALLEL = 2**14, 8, 1  # RFC 7914: 16 MiB and some 50 ms a guess
_SALT_BYTES = 16


class PinRecordStatus(Enum):
    """What is known of a PIN. The values stand in the file."""

    NEW = "new"
    TRYING = "trying"
    """Recorded before the first try. If it is still there afterwards, the result of that try is unknown."""
    GOOD = "good"
    REFUSED = "refused"


class PinRecordError(Exception):
    """The record can't be read or written. The text is one line that says what to check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRecord:
    """A PIN's status, since when (UTC seconds), and the return value for which it was refused."""

    status: PinRecordStatus
    at: float = 0.0
    why: str = ""


class PinRecordFile:
    """The record of one source, for one configuration of it at a time. It blocks: call it on a thread.

    It holds a salted scrypt hash over module, token, key and PIN, never the PIN.
    """

    def __init__(self, directory: Path, source: str, identity: Sequence[str], pin: str) -> None:
        """`identity` is module, token and key: a record holds for these and this PIN only."""
        self._path = directory / f"canary-{quote(source, safe='')}.json"
        # With lengths, so that two different identities never join into the same text.
        self._secret = "".join(f"{len(part)}:{part}" for part in (*identity, pin)).encode()

    def look(self) -> PinRecord:
        """The record of this PIN; NEW where there is none, or one of another PIN."""
        try:
            found = state_file.read_json(self._path)
            if found is None:
                return PinRecord(status=PinRecordStatus.NEW)
            digest = self._digest(bytes.fromhex(found["salt"]))
            if not hmac.compare_digest(digest, str(found["digest"])):
                return PinRecord(status=PinRecordStatus.NEW)
            return PinRecord(status=PinRecordStatus(found["standing"]), at=float(found["at"]), why=str(found["why"]))
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            reason = getattr(error, "strerror", None) or "not a note of the canary's"
            raise PinRecordError(f"{self._path}: {reason}: whether the PIN was refused before is not known") from error

    def keep(self, status: PinRecordStatus, why: str = "") -> PinRecord:
        """Write the record; it is on disk when this returns."""
        salt, record = os.urandom(_SALT_BYTES), PinRecord(status=status, at=time.time(), why=why)
        content = {
            "salt": salt.hex(),
            "digest": self._digest(salt),
            "standing": status.value,
            "at": record.at,
            "why": why,
        }
        try:
            state_file.write_json(self._path, content)
        except OSError as error:
            raise PinRecordError(f"{self._path} cannot be written: {error.strerror}: check the disk") from error
        return record

    def forget(self) -> None:
        """Remove the record, so that the PIN may be tried again."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise PinRecordError(f"{self._path} cannot be removed: {error.strerror}") from error

    def _digest(self, salt: bytes) -> str:
        return hashlib.scrypt(self._secret, salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, dklen=32).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to sign with, and how the process that signs is started."""

    launch: Launch
    module: str
    token: str
    key: Mapping[str, str]
    mechanism: MechanismName
    pin: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of an attempt: seconds of the signature, why it failed, or why none was made."""

    seconds: float | None = None
    failed: str = ""
    untried: str = ""


class Signer:
    """Owns the process from attempt to attempt."""

    def __init__(self, job: Job, file: PinRecordFile) -> None:
        self._job = job
        self._file = file
        self._record: PinRecord | None = None
        self.children = Children(job.launch)
        self._busy = False
        self._disk = Lane(f"the note of source {job.launch.source}'s PIN")
        self._checking = Lane(f"source {job.launch.source}: checking a signature")

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await self._disk.call(work, seconds=_RECORD_SECONDS)
        except StuckError as error:
            raise PinRecordError(str(error)) from error

    async def attempt(self, deadline: float) -> Attempt:
        """Sign once, until that time of the loop's clock. SourceFailure is for what is no fault of the token's."""
        if self._busy:  # the last attempt was cancelled: its answer would be taken for the next one's
            await self.children.discard()
        self._busy = True
        try:
            outcome = await self._attempt(deadline)
        except ChildLost as lost:
            outcome = Attempt(failed=str(lost))
        if outcome.failed or outcome.untried:
            await self.children.discard()
        self._busy = False
        return outcome

    async def _attempt(self, deadline: float) -> Attempt:
        try:
            if self._record is None:
                self._record = await self._on_disk(self._file.look)
        except PinRecordError as error:
            return Attempt(untried=str(error))
        if self._record.status in (PinRecordStatus.REFUSED, PinRecordStatus.TRYING):
            return Attempt(failed=not_tried_text(self._record))
        await self._ready()
        request = {"do": "reach", "module": self._job.module, "token": self._job.token}
        reached = await self._ask(request, deadline)
        if "failed" in reached:
            return Attempt(failed=failure_text(reached))
        flags = int(reached["ok"]["flags"])
        if flags & _LOCKED:
            return Attempt(failed="the token's flags say that the PIN is locked: have the security officer unlock it")
        if flags & _FINAL_TRY:
            return Attempt(untried=_LAST_TRY)
        return await self._sign(deadline)

    async def _sign(self, deadline: float) -> Attempt:
        job = self._job
        text = verify.message(job.launch.source, time.time())
        pin = job.pin
        request = {
            "do": "sign",
            "pin": pin,
            "key": dict(job.key),
            "mechanism": job.mechanism,
            "data": verify.to_sign(job.mechanism, text).hex(),
        }
        try:
            if self._record is None or self._record.status is PinRecordStatus.NEW:
                self._record = await self._on_disk(partial(self._file.keep, PinRecordStatus.TRYING))
            try:
                answer = await self._ask(request, deadline)
            except ChildLost as lost:
                if lost.call in _AFTER_LOGIN:
                    await self._keep(PinRecordStatus.GOOD)
                raise
            refused = answer.get("error") if answer.get("error") in PIN_ERRORS else None
            if refused is not None:
                await self._keep(PinRecordStatus.REFUSED, return_value(refused))
            else:
                await self._keep(self._status_after(answer))
        except PinRecordError as error:
            return Attempt(untried=f"{error}; without the note a PIN is not tried")
        return await self._judged(answer, text)

    def _status_after(self, answer: Mapping[str, Any]) -> PinRecordStatus:
        """A login that certainly failed for another reason leaves the PIN's status; an unclear one counts as a try."""
        before = self._record.status if self._record is not None else PinRecordStatus.TRYING
        if answer.get("failed") != "C_Login":
            return PinRecordStatus.GOOD
        innocent = is_not_the_pin(answer)
        return PinRecordStatus.NEW if innocent and before is PinRecordStatus.TRYING else before

    async def _keep(self, status: PinRecordStatus, why: str = "") -> None:
        """Write the record only where the status changes: a PIN that stays good costs no write."""
        if self._record is None or self._record.status is not status:
            # In memory even where the disk fails: this process, at least, does not try the PIN again.
            self._record = PinRecord(status=status, at=time.time(), why=why)
            self._record = await self._on_disk(partial(self._file.keep, status, why))

    async def _judged(self, answer: Mapping[str, Any], text: bytes) -> Attempt:
        if "failed" in answer:
            reason, note = failure_text(answer), self._record
            shut = note is not None and note.status in (PinRecordStatus.REFUSED, PinRecordStatus.TRYING)
            return Attempt(failed=f"{reason}; {not_tried_text(note)}" if shut and note else reason)
        signed = answer["ok"]
        signature = bytes.fromhex(signed["signature"])
        # On a thread: the first time it imports a large library.
        check = partial(verify.check, self._job.mechanism, text, signature, signed["public"])
        verdict = await self._checking.call(check, seconds=_CHECK_SECONDS)
        if verdict.problem:
            return Attempt(failed=f"C_Sign: {verdict.problem}")
        return Attempt(seconds=float(signed["seconds"]))

    async def _ready(self) -> None:
        self.children.reap()
        if self.children.current is not None:
            return
        try:
            await self.children.start()
        except SourceFailure:
            self._busy = False
            raise

    async def _ask(self, request: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        child = self.children.current
        assert child is not None
        child.send(request)
        answer: dict[str, Any] = await child.answer(deadline - asyncio.get_running_loop().time())
        return answer

    async def close(self) -> None:
        """End the process; one that the kernel holds ends when the kernel lets it."""
        if self._busy:
            await self.children.discard()
        await self.children.close()

    async def forget_pin(self) -> bool:
        """Let a PIN that was refused be tried once more. False if the note would not go."""
        self._record = None
        try:
            await self._on_disk(self._file.forget)
        except PinRecordError:
            return False  # the next attempt reads the note, and says what is the matter with it
        return True


def failure_text(answer: Mapping[str, Any]) -> str:
    """Why a step failed, in one line: the step, the return value by its name, what to check."""
    step, kind, text = str(answer["failed"]), str(answer["error"]), str(answer["text"])
    if kind in _OWN_ERRORS:
        what = {"NoSuchKey": "no key of that label or id is there", "MultipleObjectsReturned": "several keys match"}
        return f"{step}: {what.get(kind, text[:_LONGEST])}: {_CHECK.get(kind, _OTHER_KEY)}"
    if (code := _vendor_code(answer)) is not None:
        shown = name(code, luna=_is_luna(answer))
        return f"{step} returned {shown}" + (f": {_LOG_FULL}" if "LOG_FULL" in shown else "")
    if kind in {"PKCS11Error", "ImportError"}:
        return f"{step}: {' '.join(text.split())[:_LONGEST]}: check `module`, and that the client is installed whole"
    if kind in {"ValueError", "TypeError", "AttributeError", "NotImplementedError"}:
        return f"{step}: {text}: check `mechanism` and `key`"
    advice = _CHECK.get(kind)
    return f"{step} returned {return_value(kind)}" + (f": {advice}" if advice else "")


def is_not_the_pin(answer: Mapping[str, Any]) -> bool:
    """Whether a failed login certainly did not count as a try of the PIN."""
    full = _vendor_code(answer) == LOG_FULL and _is_luna(answer)
    return full or str(answer["error"]) in _NOT_THE_PIN


def _is_luna(answer: Mapping[str, Any]) -> bool:
    return str(answer.get("manufacturer", "")).startswith(LUNA_MANUFACTURERS)


def _vendor_code(answer: Mapping[str, Any]) -> int | None:
    """A return value for which python-pkcs11 has no class: it stands in the text only."""
    text = str(answer["text"])
    found = _UNMAPPED.search(text) if answer["error"] == "PKCS11Error" and "nmapped" in text else None
    return int(found[1], 16) if found is not None else None


def return_value(kind: str) -> str:
    """`PinIncorrect` as the standard writes it: `CKR_PIN_INCORRECT`."""
    return f"CKR_{_HUMP.sub('_', kind).upper()}"


def not_tried_text(record: PinRecord) -> str:
    """Why a PIN is not tried."""
    when = f"{dt.datetime.fromtimestamp(record.at).astimezone():%Y-%m-%d %H:%M}"
    if record.status is PinRecordStatus.REFUSED:
        how = f"the token refused the PIN on {when} ({record.why})"
    else:
        how = f"the PIN was first tried on {when}, and nobody saw how that ended"
    return f"{how}; it is not tried again until the PIN is corrected and the agent reloaded (else: alarms forget)"
