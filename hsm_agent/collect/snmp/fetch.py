"""What is asked of an appliance in one poll, GETs for values and walks for tables, and the SNMP client that asks."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.snmp.parse import ApplianceAnswers
from hsm_agent.collect.snmp.values import text_of
from hsm_agent.net.snmp_session import NoAnswerError, OtherAddresses, SessionError, SnmpSession, Traffic
from hsm_agent.net.udp import LinkError, open_link
from hsm_agent.wire.snmp.ber import END_OF_MIB_VIEW_TAG, Undecodable
from hsm_agent.wire.snmp.client_engine import Manager
from hsm_agent.wire.snmp.engine import Salts
from hsm_agent.wire.snmp.pdu import ErrorStatus

if TYPE_CHECKING:
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


class SnmpClient(Protocol):
    """Sends requests to one appliance. `get` and `bulk` raise NoAnswerError, or SourceFailure to end the poll."""

    traffic: Traffic
    """What was sent since `begin`, repetitions included."""

    def begin(self) -> None:
        """Begin a poll: its time runs from now."""

    async def get(self, names: Sequence[Oid]) -> SnmpResponse: ...

    async def bulk(self, names: Sequence[Oid], repetitions: int) -> SnmpResponse:
        """GETBULK that begins behind these."""

    def close(self) -> None:
        """Leave nothing open, and forget what was learnt of the appliance's engine."""


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


@dataclass(slots=True, kw_only=True)
class FetchResult(ApplianceAnswers):
    """What was read so far; `answer_count` counts requests that were answered, `errors` has a line each.

    `oddities` counts values that cannot be decoded and walks in circles; the first few are among the errors.
    """

    errors: list[str] = field(default_factory=list)
    answer_count: int = 0
    oddities: int = 0

    def fail(self, what: Iterable[Oid], reason: str) -> None:
        """Report, once, why these got no answer."""
        self.failed |= dict.fromkeys(what, reason)
        if reason not in self.errors:
            self.errors.append(reason)

    def note_undecodable(self, varbind: VarBind) -> None:
        if isinstance(varbind.value, Undecodable):
            what = text_of(varbind.name) if varbind.name else "a name"
            self.note_oddity(f"{what} cannot be decoded: the appliance sent {varbind.value.reason}")

    def note_oddity(self, what: str) -> None:
        """Report what no agent should do; beyond a bound it is counted only."""
        self.oddities += 1
        if self.oddities <= _MOST_ODDITIES:
            self.errors.append(what)


async def fetch(client: SnmpClient, plan: Plan) -> FetchResult:
    """Read everything. What gets no answer is reported, and costs nothing else."""
    result = FetchResult()
    try:
        for start in range(0, len(plan.values), NAMES_A_GET):
            await _get(client, plan.values[start : start + NAMES_A_GET], result)
    except NoAnswerError as silence:
        result.fail([oid for oid in plan.values if oid not in result.values], str(silence))
    for table in plan.tables:
        try:
            await _walk(client, table, result)
        except NoAnswerError as silence:
            result.fail([table.entry], str(silence))
    return result


async def _get(client: SnmpClient, names: Sequence[Oid], result: FetchResult) -> None:
    """GET; in halves where the answer is too big for the appliance, and without the names that it refuses."""
    wanted = list(names)
    while wanted:
        answer = await client.get(wanted)
        result.answer_count += 1
        if answer.error_status == ErrorStatus.NO_ERROR:
            asked = set(wanted)
            for one in answer.varbinds:
                result.note_undecodable(one)
                if one.name in asked and one.value is not None:  # None: no such object or instance
                    result.values[one.name] = one.value
            return
        if answer.error_status == ErrorStatus.TOO_BIG and len(wanted) > 1:
            half = len(wanted) // 2
            await _get(client, wanted[:half], result)
            wanted = wanted[half:]
            continue
        status = _status_text(answer.error_status)
        if not 0 < answer.error_index <= len(wanted):
            result.fail(wanted, f"the appliance refuses a request: {status}")
            return
        # Agents of SNMPv1 descent refuse the whole request for one name: go on without it.
        refused = wanted.pop(answer.error_index - 1)
        result.fail([refused], f"the appliance refuses {text_of(refused)}: {status}")


async def _walk(client: SnmpClient, table: TablePlan, result: FetchResult) -> None:
    rows = result.rows.setdefault(table.entry, {})
    for start in range(0, len(table.columns), _MOST_COLUMNS):
        roots = {(*table.entry, *column): column for column in table.columns[start : start + _MOST_COLUMNS]}
        at = {root: root for root in roots}
        # More columns in a request mean fewer rows, so that an answer keeps to a size that agents can build.
        repetitions = max(1, VALUES_A_BULK // len(roots))
        while at:
            answer = await client.bulk(list(at.values()), repetitions)
            result.answer_count += 1
            if answer.error_status == ErrorStatus.TOO_BIG and repetitions > 1:
                repetitions //= 2
                continue
            if answer.error_status != ErrorStatus.NO_ERROR:
                result.fail(
                    [table.entry],
                    f"the appliance refuses table {text_of(table.entry)}: {_status_text(answer.error_status)}",
                )
                return
            at = _take(answer.varbinds, at, roots, result, rows)
            if len(rows) > table.rows:
                result.errors.append(
                    f"table {text_of(table.entry)} has more than {table.rows} rows: the rest is not read"
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
    """Store the values of one answer. Returns the last name of each column that goes on.

    A column ends at the first name that does not increase or lies elsewhere (RFC 3416 section 4.2.3), so every walk
    ends. It is an error unless the agent went on behind the column, or sent endOfMibView.
    """
    # Varbinds come in rounds, one of each column that was asked for, in the order of the request.
    order = list(at)
    going = dict(at)
    for place, one in enumerate(varbinds):
        root = order[place % len(order)]
        if root not in going:
            continue
        if one.tag == END_OF_MIB_VIEW_TAG or one.name[: len(root)] != root or one.name <= going[root]:
            del going[root]
            if not one.name:  # how the column goes on is not known
                result.note_undecodable(one)
            elif one.tag != END_OF_MIB_VIEW_TAG and one.name[: len(root)] == root:
                result.note_oddity(
                    f"{text_of(one.name)} comes again in a walk: the rest of {text_of(root)} is not read"
                )
            continue
        result.note_undecodable(one)
        going[root] = one.name
        if one.value is not None:
            rows.setdefault(one.name[len(root) :], {})[roots[root]] = one.value
    # An answer may be cut anywhere: a column without a varbind in it is asked for again from where it was. Without
    # progress in any column the same request would be sent without end.
    if going == at:
        result.note_oddity(f"the appliance answers a walk with nothing: the rest of {text_of(order[0])} is not read")
        return {}
    return going


def _status_text(error_status: int) -> str:
    known = {int(status): status.name.lower().replace("_", " ") for status in ErrorStatus}
    text = known.get(error_status, f"error {error_status}")
    denied = error_status in {ErrorStatus.NO_ACCESS, ErrorStatus.AUTHORIZATION_ERROR}
    return f"{text}; check what its agent lets this user or community see, and at which level" if denied else text


_ONE_AT_A_TIME = 1
"""The window of a poll: agents on appliances are slow, and some answer one request at a time only."""


@dataclass(slots=True, kw_only=True)
class ApplianceClient:
    """Asks one appliance, one request at a time. What is learnt of its engine is kept while all goes well.

    A whole poll takes `timeout_seconds` at most. `clock` is what the appliance's time is computed by.
    """

    address: Address
    timeout_seconds: float
    retries: int
    community: bytes | None = field(default=None, repr=False)
    user: User | None = None
    context: bytes = b""
    answers_from: AnswersFrom = "same"
    clock: Callable[[], float] = time.monotonic
    traffic: Traffic = field(init=False, default_factory=Traffic)
    _salts: Salts = field(init=False, default_factory=Salts)
    _others: OtherAddresses = field(init=False)
    _opened: tuple[SnmpSession, Manager] | None = field(init=False, default=None)
    _turn: int = field(init=False, default=0)
    _deadline: float = field(init=False, default=0.0)
    _silence: str = field(init=False, default="")
    """What was said of the last request of this poll that got no answer."""

    def __post_init__(self) -> None:
        are_trusted = self.user is not None or self.answers_from == "any"
        self._others = OtherAddresses(str(self.address), are_trusted=are_trusted)

    def begin(self) -> None:
        self._deadline = asyncio.get_running_loop().time() + self.timeout_seconds
        self.traffic = Traffic()
        self._silence = ""

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[0].link.close()

    async def get(self, names: Sequence[Oid]) -> SnmpResponse:
        return await self._ask(lambda manager, number, now: manager.encode_get(number, names, now), "GET")

    async def bulk(self, names: Sequence[Oid], repetitions: int) -> SnmpResponse:
        return await self._ask(
            lambda manager, number, now: manager.encode_bulk(number, names, repetitions, now), "GETBULK"
        )

    async def _ask(self, encode: Callable[[Manager, int, float], bytes], name: str) -> SnmpResponse:
        if asyncio.get_running_loop().time() >= self._deadline:
            # Nothing can be sent any more: what is left fails for the reason that took the time.
            slow = f"no time is left for it: raise `timeout`, now {self.timeout_seconds:g} s, or read less"
            raise NoAnswerError(self._silence or slow, is_ready=True)
        responses: list[SnmpResponse] = []
        try:
            session, manager = self._opened = self._opened or await self._open()
            session.deadline, session.traffic = self._deadline, self.traffic
            await session.run(
                [lambda number, now: encode(manager, number, now)],
                lambda _position, response: responses.append(response),
                name,
            )
        except NoAnswerError as error:
            self._silence = str(error)
            raise
        except SessionError as error:
            raise self._failure(str(error)) from error
        except LinkError as error:
            text = f"{error}: check that its SNMP agent runs and listens there, and the firewall"
            raise self._failure(text) from error
        return responses[0]

    async def _open(self) -> tuple[SnmpSession, Manager]:
        left = self._deadline - asyncio.get_running_loop().time()
        try:
            link = await open_link(
                self.address, bind=None, turn=self._turn, timeout_seconds=max(left, 0.001), strays=True
            )
        except LinkError as error:
            raise self._failure(f"{error}: check `to`, name resolution and routing") from error
        self._turn += 1  # the next session asks another of its addresses
        manager = Manager(
            salts=self._salts,
            first_id=secrets.randbits(31),
            community=self.community,
            user=self.user,
            context=self.context,
        )
        session = SnmpSession(
            link,
            manager,
            window=_ONE_AT_A_TIME,
            try_seconds=self.timeout_seconds / (self.retries + 1),
            tries=self.retries + 1,
            others=self._others,
            clock=self.clock,
        )
        return session, manager

    def _failure(self, text: str) -> SourceFailure:
        """A failure after which everything is begun anew."""
        self.close()
        return SourceFailure(f"{self.address}: {text}")
