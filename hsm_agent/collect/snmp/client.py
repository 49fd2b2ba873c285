"""The SNMP client of one appliance: a session that is kept between polls, and its failures as a source's."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.snmp.fetch import NoAnswer
from hsm_agent.net.snmp_session import NoAnswerError, OtherAddresses, SessionError, SnmpSession, Traffic
from hsm_agent.net.udp import LinkError, open_link
from hsm_agent.wire.snmp.client_engine import Manager
from hsm_agent.wire.snmp.engine import Salts

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from hsm_agent.net.address import Address
    from hsm_agent.settings.snmp import AnswersFrom
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.client_engine import SnmpResponse
    from hsm_agent.wire.snmp.usm import User

_ONE_AT_A_TIME = 1
"""The window of a poll: agents on appliances are slow, and some answer one request at a time only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An appliance to ask, as it is configured. A whole poll takes `timeout` seconds at most."""

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


class ApplianceClient:
    """Asks one appliance, one request at a time. What is learnt of its engine is kept while all goes well."""

    def __init__(self, target: Target, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is what the appliance's time is computed by."""
        self._target = target
        self._clock = clock
        self._salts = Salts()
        self._manager: Manager | None = None
        self._session: SnmpSession | None = None
        self._others = OtherAddresses(
            str(target.address), are_trusted=target.user is not None or target.answers_from == "any"
        )
        self._turn = 0
        self._deadline = 0.0
        self._traffic = Traffic()

    @property
    def calls(self) -> Counter[str]:
        """Requests sent since `begin`, repetitions included."""
        return self._traffic.calls

    @property
    def slowest(self) -> float | None:
        """Seconds the slowest answer of these took."""
        return self._traffic.slowest_seconds

    def begin(self) -> None:
        """A new poll: its time runs from now."""
        self._deadline = asyncio.get_running_loop().time() + self._target.timeout
        self._traffic = Traffic()

    def close(self) -> None:
        """Leave nothing open, and forget what was learnt."""
        session, self._session, self._manager = self._session, None, None
        if session is not None:
            session.link.close()

    async def get(self, names: Sequence[Oid]) -> SnmpResponse:
        """GET of these."""
        return await self._ask(lambda manager, number, now: manager.encode_get(number, names, now), "GET")

    async def bulk(self, names: Sequence[Oid], repetitions: int) -> SnmpResponse:
        """GETBULK that begins behind these."""
        return await self._ask(
            lambda manager, number, now: manager.encode_bulk(number, names, repetitions, now), "GETBULK"
        )

    async def _ask(self, encode: Callable[[Manager, int, float], bytes], name: str) -> SnmpResponse:
        responses: list[SnmpResponse] = []
        try:
            session, manager = await self._opened()
            session.deadline, session.traffic = self._deadline, self._traffic
            await session.run(
                [lambda number, now: encode(manager, number, now)],
                lambda _position, response: responses.append(response),
                name,
            )
        except NoAnswerError as error:
            raise NoAnswer(str(error)) from error
        except SessionError as error:
            raise self._failure(str(error)) from error
        except LinkError as error:
            text = f"{error}: check that its SNMP agent runs and listens there, and the firewall"
            raise self._failure(text) from error
        return responses[0]

    async def _opened(self) -> tuple[SnmpSession, Manager]:
        if self._session is not None and self._manager is not None:
            return self._session, self._manager
        one = self._target
        left = self._deadline - asyncio.get_running_loop().time()
        try:
            link = await open_link(one.address, bind=None, turn=self._turn, timeout=max(left, 0.001), strays=True)
        except LinkError as error:
            raise self._failure(f"{error}: check `to`, name resolution and routing") from error
        self._turn += 1
        self._manager = Manager(
            salts=self._salts,
            first_id=secrets.randbits(31),
            community=one.community,
            user=one.user,
            context=one.context,
        )
        self._session = SnmpSession(
            link,
            self._manager,
            window=_ONE_AT_A_TIME,
            try_seconds=one.patience,
            tries=one.retries + 1,
            others=self._others,
            clock=self._clock,
        )
        return self._session, self._manager

    def _failure(self, text: str) -> SourceFailure:
        """A failure after which everything is begun anew."""
        self.close()
        return SourceFailure(f"{self._target.address}: {text}")
