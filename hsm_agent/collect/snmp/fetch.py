"""What is asked of an appliance in one poll, GETs for values and walks for tables, and the SNMP client that asks."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.snmp.parse import ApplianceAnswers
from hsm_agent.net.snmp_session import NoAnswerError, OtherAddresses, SessionError, SnmpSession, Traffic
from hsm_agent.net.udp import LinkError, open_link
from hsm_agent.wire.snmp.ber import END_OF_MIB_VIEW_TAG, Undecodable
from hsm_agent.wire.snmp.client_engine import Manager
from hsm_agent.wire.snmp.engine import Salts
from hsm_agent.wire.snmp.pdu import ErrorStatus

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Sequence

    from hsm_agent.collect.snmp.profile import Profile
    from hsm_agent.collect.snmp.values import RawValue
    from hsm_agent.net.address import Address
    from hsm_agent.settings.snmp import AnswersFrom
    from hsm_agent.wire.snmp.ber import Oid, VarBind
    from hsm_agent.wire.snmp.client_engine import SnmpResponse
    from hsm_agent.wire.snmp.usm import User

NAMES_A_GET = 25
"""So that an answer of usual values fits one datagram of 1500 octets, more or less."""
VALUES_A_BULK = 50
_MOST_COLUMNS = 25
_MOST_ODDITIES = 10


class NoAnswer(Exception):
    """The appliance was silent for as long as it may be. One line."""


class SnmpClient(Protocol):
    """Sends requests to one appliance. Both methods raise NoAnswer, or SourceFailure to end the poll."""

    async def get(self, names: Sequence[Oid]) -> SnmpResponse:
        """GET of these."""

    async def bulk(self, names: Sequence[Oid], repetitions: int) -> SnmpResponse:
        """GETBULK that begins behind these."""


@dataclass(frozen=True, slots=True)
class TablePlan:
    """The columns of a table that are read, and how many rows at most. `entry` is the OID they stand below."""

    entry: Oid
    columns: tuple[Oid, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is read of an appliance."""

    values: tuple[Oid, ...]
    tables: tuple[TablePlan, ...]


def plan_of(profiles: Iterable[Profile]) -> Plan:
    """The union of what profiles want."""
    values: dict[Oid, None] = {}
    tables: dict[Oid, TablePlan] = {}
    for profile in profiles:
        values |= dict.fromkeys(value.oid for value in profile.values)
        for table in profile.tables:
            before = tables.get(table.oid, TablePlan(table.oid, (), 0))
            columns = tuple(dict.fromkeys((*before.columns, *(value.oid for value in table.values))))
            tables[table.oid] = TablePlan(table.oid, columns, max(before.rows, table.rows))
    return Plan(tuple(values), tuple(tables.values()))


@dataclass(slots=True)
class FetchResult:
    """What was brought in so far; `answer_count` counts requests that were answered, `errors` has a line each."""

    values: dict[Oid, RawValue] = field(default_factory=dict)
    rows: dict[Oid, dict[Oid, dict[Oid, RawValue]]] = field(default_factory=dict)
    failed: dict[Oid, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    answer_count: int = 0
    oddities: int = 0
    """Values that can't be decoded, and walks in circles; the first few are among the errors."""

    def fail(self, what: Iterable[Oid], reason: str) -> None:
        """These got no answer."""
        self.failed |= dict.fromkeys(what, reason)
        if reason not in self.errors:
            self.errors.append(reason)

    def look_at(self, varbind: VarBind) -> None:
        """Say so if its value can't be decoded."""
        if isinstance(varbind.value, Undecodable):
            what = _dotted(varbind.name) if varbind.name else "a name"
            self.wonder(f"{what} cannot be decoded: the appliance sent {varbind.value.reason}")

    def wonder(self, what: str) -> None:
        """Say what no agent should do, but not for ever."""
        self.oddities += 1
        if self.oddities <= _MOST_ODDITIES:
            self.errors.append(what)

    @property
    def answers(self) -> ApplianceAnswers:
        """For parsing."""
        return ApplianceAnswers(values=self.values, rows=self.rows, failed=self.failed)


async def fetch(client: SnmpClient, plan: Plan) -> FetchResult:
    """Ask for everything. What is not answered leaves the rest as it is; nothing is left out unsaid."""
    result = FetchResult()
    try:
        for start in range(0, len(plan.values), NAMES_A_GET):
            await _get(client, plan.values[start : start + NAMES_A_GET], result)
    except NoAnswer as silence:
        result.fail([oid for oid in plan.values if oid not in result.values], str(silence))
    for table in plan.tables:
        try:
            await _walk(client, table, result)
        except NoAnswer as silence:
            result.fail([table.entry], str(silence))
    return result


async def _get(client: SnmpClient, names: Sequence[Oid], result: FetchResult) -> None:
    """GET; in halves where the answer is too big for the appliance, and without what it can't bear to be asked."""
    wanted = list(names)
    while wanted:
        answer = await client.get(wanted)
        result.answer_count += 1
        if answer.error_status == ErrorStatus.NO_ERROR:
            asked = set(wanted)
            for one in answer.varbinds:
                result.look_at(one)
                if one.name in asked and one.value is not None:  # None: no such object or instance
                    result.values[one.name] = one.value
            return
        if answer.error_status == ErrorStatus.TOO_BIG and len(wanted) > 1:
            half = len(wanted) // 2
            await _get(client, wanted[:half], result)
            wanted = wanted[half:]
            continue
        word = _word(answer.error_status)
        if not 0 < answer.error_index <= len(wanted):
            result.fail(wanted, f"the appliance refuses a request: {word}")
            return
        refused = wanted.pop(answer.error_index - 1)
        result.fail([refused], f"the appliance refuses {_dotted(refused)}: {word}")


async def _walk(client: SnmpClient, table: TablePlan, result: FetchResult) -> None:
    rows = result.rows.setdefault(table.entry, {})
    for start in range(0, len(table.columns), _MOST_COLUMNS):
        roots = {(*table.entry, *column): column for column in table.columns[start : start + _MOST_COLUMNS]}
        at = {root: root for root in roots}
        repetitions = max(1, VALUES_A_BULK // len(roots))
        while at:
            answer = await client.bulk(list(at.values()), repetitions)
            result.answer_count += 1
            if answer.error_status == ErrorStatus.TOO_BIG and repetitions > 1:
                repetitions //= 2
                continue
            if answer.error_status != ErrorStatus.NO_ERROR:
                result.fail(
                    [table.entry], f"the appliance refuses table {_dotted(table.entry)}: {_word(answer.error_status)}"
                )
                return
            at = _take(answer.varbinds, at, roots, result, rows)
            if len(rows) > table.rows:
                result.errors.append(
                    f"table {_dotted(table.entry)} has more than {table.rows} rows: the rest is not read"
                )
                for index in sorted(rows)[table.rows :]:
                    del rows[index]
                return


def _take(
    varbinds: Sequence[VarBind],
    at: dict[Oid, Oid],
    roots: dict[Oid, Oid],
    result: FetchResult,
    rows: dict[Oid, dict[Oid, RawValue]],
) -> dict[Oid, Oid]:
    """Take in one answer; where each column goes on, those at their end left out.

    Names that do not grow, or lie elsewhere, end a column (RFC 3416 section 4.2.3): no agent can hold us for ever. That
    an agent ended one otherwise than by going on behind it is told.
    """
    order = list(at)
    going = dict(at)
    for place, one in enumerate(varbinds):
        root = order[place % len(order)]
        if root not in going:
            continue
        if one.tag == END_OF_MIB_VIEW_TAG or one.name[: len(root)] != root or one.name <= going[root]:
            del going[root]
            if not one.name:  # how the column goes on is not known
                result.look_at(one)
            elif one.tag != END_OF_MIB_VIEW_TAG and one.name[: len(root)] == root:
                result.wonder(f"{_dotted(one.name)} comes again in a walk: the rest of {_dotted(root)} is not read")
            continue
        result.look_at(one)
        going[root] = one.name
        if one.value is not None:
            rows.setdefault(one.name[len(root) :], {})[roots[root]] = one.value
    # A column that had no part in a short answer goes on from where it was; one without any progress would for ever.
    if going == at:
        result.wonder(f"the appliance answers a walk with nothing: the rest of {_dotted(order[0])} is not read")
        return {}
    return going


def _word(error_status: int) -> str:
    known = {int(status): status.name.lower().replace("_", " ") for status in ErrorStatus}
    word = known.get(error_status, f"error {error_status}")
    denied = error_status in {ErrorStatus.NO_ACCESS, ErrorStatus.AUTHORIZATION_ERROR}
    return f"{word}; check what its agent lets this user or community see, and at which level" if denied else word


def _dotted(oid: Oid) -> str:
    return ".".join(map(str, oid))


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
