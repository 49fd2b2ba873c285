"""A conversation with a receiver of informs: discovery, a window of outstanding ones, repetition, deadlines."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.net.snmp_answers import Answers
from hsm_agent.net.udp_client import LinkError
from hsm_agent.wire.snmp.client_engine import Acknowledged, Complaint, Declined, Learned, TooBigError
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.pdu import ErrorStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.net.snmp_answers import Elsewhere
    from hsm_agent.net.udp_client import Link
    from hsm_agent.wire.snmp.client_engine import InformOutcome, Originator

WINDOW = 16
_MAX_LESSONS = 6
"""Discovery takes two, a receiver that starts anew meanwhile another one or two."""

_COMPLAINTS = {
    Count.UNKNOWN_USER_NAMES: "it does not know this user (usmStatsUnknownUserNames)",
    Count.WRONG_DIGESTS: "wrong authentication protocol or pass-phrase (usmStatsWrongDigests)",
    Count.UNSUPPORTED_SEC_LEVELS: "it does not take this user at this security level (usmStatsUnsupportedSecLevels)",
    Count.DECRYPTION_ERRORS: "wrong privacy protocol or pass-phrase (usmStatsDecryptionErrors)",
    Count.NOT_IN_TIME_WINDOWS: "it refuses its own boots and time (usmStatsNotInTimeWindows)",
    Count.UNKNOWN_ENGINE_IDS: "it denies its own engine ID (usmStatsUnknownEngineIDs)",
    Count.UNKNOWN_CONTEXTS: "it does not know the default context (snmpUnknownContexts)",
    Count.UNKNOWN_PDU_HANDLERS: "it takes no informs (snmpUnknownPDUHandlers)",
}


class ExchangeError(Exception):
    """The receiver did not answer, or answered that nothing from us is welcome. `unanswered`: an inform was sent."""

    def __init__(self, reason: str, *, unanswered: bool = False) -> None:
        super().__init__(reason)
        self.unanswered = unanswered


@dataclass(slots=True)
class _Outstanding:
    place: int
    varbinds: tuple[bytes, ...]
    tries_left: int
    due: float


class Exchange:
    """Sends informs over one link. Of no more use once it has raised anything."""

    def __init__(
        self, link: Link, originator: Originator, *, timeout: float, retries: int, elsewhere: Elsewhere
    ) -> None:
        self.link = link
        self._originator = originator
        self._timeout = timeout
        self._retries = retries
        self._lessons = 0
        self._answers = Answers(link, originator, elsewhere, lambda: asyncio.get_running_loop().time())
        self._outstanding: dict[int, _Outstanding] = {}

    async def run(
        self, notifications: Sequence[tuple[int, tuple[bytes, ...]]], answered: Callable[[int, int], None]
    ) -> None:
        """Send each until it is answered; `answered` is given its number and an error-status as answers come in.

        Raises ExchangeError or LinkError when one of them stays without.
        """
        waiting = deque(notifications)
        self._outstanding = {}
        while waiting or self._outstanding:
            await self._get_ready()
            while waiting and len(self._outstanding) < WINDOW:
                place, varbinds = waiting.popleft()
                self._outstanding[self._originator.next_id()] = _Outstanding(place, varbinds, self._retries + 1, 0.0)
            self._send_due(answered)
            if self._outstanding:
                outcome = await self._next_outcome(min(one.due for one in self._outstanding.values()))
                self._take(outcome, answered)

    def _send_due(self, answered: Callable[[int, int], None]) -> None:
        now = asyncio.get_running_loop().time()
        for request_id, one in list(self._outstanding.items()):
            if one.due > now:
                continue
            if not one.tries_left:
                raise self._no_answer(unanswered=True)
            one.tries_left -= 1
            one.due = now + self._timeout
            try:
                self.link.send(self._originator.encode_inform(request_id, one.varbinds, now))
            except TooBigError:
                self._settle(request_id, ErrorStatus.TOO_BIG, answered)
            except LinkError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                self._settle(request_id, ErrorStatus.TOO_BIG, answered)

    def _no_answer(self, *, unanswered: bool = False) -> ExchangeError:
        text = f"no answer ({self._retries + 1} tries, {self._timeout:g} s each)"
        oddity = self._answers.oddity
        text = f"{text}; what came last is {oddity}" if oddity else text
        return ExchangeError(text, unanswered=unanswered)

    def _settle(self, request_id: int, error_status: int, answered: Callable[[int, int], None]) -> None:
        one = self._outstanding.pop(request_id, None)
        self._originator.forget(request_id)
        if one is not None:
            self._lessons = 0
            answered(one.place, error_status)

    def _take(self, outcome: InformOutcome | None, answered: Callable[[int, int], None]) -> None:
        match outcome:
            case None:
                return
            case Acknowledged(request_id=request_id):
                self._settle(request_id, ErrorStatus.NO_ERROR, answered)
            case Declined(request_id=request_id, error_status=error_status):
                self._settle(request_id, error_status, answered)
            case Learned():
                self._learn()
                for one in self._outstanding.values():  # what is under way was made with what we knew before
                    one.due = 0.0
                    one.tries_left = max(one.tries_left, 1)
            case Complaint(cause=cause):
                raise complaint(cause)

    def _learn(self) -> None:
        self._lessons += 1
        if self._lessons > _MAX_LESSONS:
            raise ExchangeError("its engine ID or its time changes with every answer")

    async def _get_ready(self) -> None:
        """Discover the receiver's engine and its time."""
        tries = self._retries + 1
        while not self._originator.ready:
            if not tries:
                raise self._no_answer()
            tries -= 1
            self.link.send(self._originator.encode_probe())
            outcome = await self._next_outcome(asyncio.get_running_loop().time() + self._timeout)
            if isinstance(outcome, Complaint):
                raise complaint(outcome.cause)
            if isinstance(outcome, Learned):
                self._learn()
                tries = self._retries + 1

    async def _next_outcome(self, due: float) -> InformOutcome | None:
        """What the receiver says next; None if it says nothing of use until `due`."""
        outcome = await self._answers.next(due)
        if outcome is not None:
            self._answers.oddity = ""
        return outcome


def complaint(cause: Count | None) -> ExchangeError:
    """What an operator should read."""
    if cause is None:
        return ExchangeError("it answered with a Report of something that is no standard counter")
    return ExchangeError(_COMPLAINTS.get(cause, f"it answered with a Report: {cause.name.lower().replace('_', ' ')}"))
