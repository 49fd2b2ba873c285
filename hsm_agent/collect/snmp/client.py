"""One appliance on the network: a socket, requests, repetitions, and what an operator should read when it fails."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.snmp.fetch import NoAnswer
from hsm_agent.net.snmp_answers import Answers, Elsewhere
from hsm_agent.net.udp_client import Link, LinkError, open_link
from hsm_agent.wire.snmp.client_engine import Complaint, GetResponse, Learned, Manager, TooBigError
from hsm_agent.wire.snmp.engine import Count, Salts
from hsm_agent.wire.snmp.pdu import ErrorStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.net.address import Address
    from hsm_agent.settings.snmp import AnswersFrom
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.usm import User

_MAX_LESSONS = 4
"""Engine ID, time, and each once more after a restart of the appliance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appliance:
    """An appliance as it is configured. A whole poll takes `timeout` seconds at most."""

    address: Address
    timeout: float
    retries: int
    community: bytes | None = field(default=None, repr=False)
    user: User | None = None
    context: bytes = b""
    answers_from: AnswersFrom = "same"

    @property
    def patience(self) -> float:
        """Seconds that one try is waited for."""
        return self.timeout / (self.retries + 1)


class Client:
    """Asks one appliance, one request at a time. What is learnt of its engine is kept while all goes well."""

    def __init__(self, appliance: Appliance, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is what the appliance's time is reckoned by."""
        self._appliance = appliance
        self._clock = clock
        self._salts = Salts()
        self._link: Link | None = None
        self._manager: Manager | None = None
        self._answered = False
        self._oddity = ""
        self._elsewhere = Elsewhere(
            str(appliance.address), believed=appliance.user is not None or appliance.answers_from == "any"
        )
        self._turn = 0
        self._deadline = 0.0
        self.calls: Counter[str] = Counter()
        """Requests sent since `begin`, repetitions included."""
        self.slowest: float | None = None
        """Seconds the slowest answer of these took."""

    def begin(self) -> None:
        """A new poll: its time runs from now."""
        self._deadline = asyncio.get_running_loop().time() + self._appliance.timeout
        self.calls = Counter()
        self.slowest = None

    def close(self) -> None:
        """Leave nothing open, and forget what was learnt."""
        link, self._link, self._manager = self._link, None, None
        self._answered = False
        if link is not None:
            link.close()

    async def get(self, names: Sequence[Oid]) -> GetResponse:
        """GET of these."""
        manager = await self._ready()
        number = manager.next_id()
        return await self._ask(number, lambda: manager.encode_get(number, names, self._clock()), "GET")

    async def bulk(self, names: Sequence[Oid], repetitions: int) -> GetResponse:
        """GETBULK that begins behind these."""
        manager = await self._ready()
        number = manager.next_id()
        return await self._ask(
            number, lambda: manager.encode_bulk(number, names, repetitions, self._clock()), "GETBULK"
        )

    async def _ready(self) -> Manager:
        """An open socket, and for v3 the appliance's engine and time."""
        if self._link is None:
            self._link = await self._open()
        if self._manager is None:
            one = self._appliance
            self._manager = Manager(
                salts=self._salts,
                first_id=secrets.randbits(31),
                community=one.community,
                user=one.user,
                context=one.context,
            )
        for _ in range(_MAX_LESSONS):
            if self._manager.ready:
                return self._manager
            await self._exchange(self._manager.encode_probe, "discovery")
        raise self._failure("its engine ID or its time changes with every answer")

    async def _open(self) -> Link:
        left = self._deadline - asyncio.get_running_loop().time()
        try:
            link = await open_link(
                self._appliance.address, bind=None, turn=self._turn, timeout=max(left, 0.001), strays=True
            )
        except LinkError as error:
            raise self._failure(f"{error}: check `to`, name resolution and routing") from error
        self._turn += 1
        return link

    async def _ask(self, number: int, encode: Callable[[], bytes], name: str) -> GetResponse:
        assert self._manager is not None
        try:
            for _ in range(_MAX_LESSONS):
                outcome = await self._exchange(encode, name)
                if isinstance(outcome, GetResponse):
                    self._answered = True
                    return outcome
                await self._ready()
        finally:
            if self._manager is not None:
                self._manager.forget(number)
        raise self._failure("its engine ID or its time changes with every answer")

    async def _exchange(self, encode: Callable[[], bytes], name: str) -> GetResponse | Learned:
        """Send and repeat until something of use comes back. Raises NoAnswer or SourceFailure."""
        assert self._link is not None
        self._oddity = ""
        loop = asyncio.get_running_loop()
        try:
            for _ in range(self._appliance.retries + 1):
                began = loop.time()
                if began >= self._deadline:
                    break
                self.calls[name] += 1
                self._link.send(encode())
                outcome = await self._hear(min(began + self._appliance.patience, self._deadline))
                if outcome is not None:
                    self.slowest = max(self.slowest or 0.0, loop.time() - began)
                    return outcome
        except LinkError as error:
            text = f"{error}: check that its SNMP agent runs and listens there, and the firewall"
            raise self._failure(text) from error
        except TooBigError:  # its msgMaxSize: to be asked for less, as if it had said so itself
            return GetResponse(0, ErrorStatus.TOO_BIG, 0, ())
        raise NoAnswer(self._silence())

    async def _hear(self, due: float) -> GetResponse | Learned | None:
        """What the appliance says that is of use; None if nothing is until `due`."""
        assert self._link is not None
        assert self._manager is not None
        answers = Answers(self._link, self._manager, self._elsewhere, self._clock)
        outcome = await answers.next(due)
        self._oddity = answers.oddity or self._oddity
        if isinstance(outcome, Complaint):
            raise self._failure(self._complaint(outcome.cause))
        return outcome

    def _failure(self, text: str) -> SourceFailure:
        """A failure after which everything is begun anew."""
        self.close()
        return SourceFailure(f"{self._appliance.address}: {text}")

    def _silence(self) -> str:
        one = self._appliance
        text = f"no answer within {one.timeout:g} s"
        if self._oddity:
            return f"{text} that is of use: what came last is {self._oddity}"
        if one.user is not None and self._manager is not None and self._manager.ready and not self._answered:
            # Discovery is authentic, but neither encrypted nor in a context.
            hint = "check protocol and secret of user.privacy, and `context`"
            return f"{text}, though it takes the authentication of user '{one.user.name}': {hint}"
        hint = "; a wrong community gets no answer either" if one.community is not None else ""
        return f"{text}: check address, firewall and that its SNMP agent runs{hint}"

    def _complaint(self, cause: Count | None) -> str:
        name = self._appliance.user.name if self._appliance.user is not None else ""
        known = {
            Count.UNKNOWN_USER_NAMES: f"it knows no user '{name}': check user.name, and that the appliance has it",
            Count.WRONG_DIGESTS: f"wrong authentication key of user '{name}': check protocol and secret of user.auth",
            Count.DECRYPTION_ERRORS: f"wrong privacy key of user '{name}': check protocol and secret of user.privacy",
            Count.UNSUPPORTED_SEC_LEVELS: f"user '{name}' is not allowed at this level: with user.privacy it is "
            "authPriv, without it authNoPriv; check which one the appliance has",
            Count.UNKNOWN_CONTEXTS: "it has no such context: check `context`",
            Count.UNAVAILABLE_CONTEXTS: "its context is not available: check `context`",
            Count.NOT_IN_TIME_WINDOWS: "it goes on refusing our messages as too old: its clock or boot count may jump",
        }
        if cause is None:
            return "it answered with a Report of something that is no standard counter"
        return known.get(cause, f"it answered with a Report: {cause.name.lower().replace('_', ' ')}")
