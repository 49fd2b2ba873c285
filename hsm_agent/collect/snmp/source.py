"""The source `kind: snmp`: an appliance that is read by its own SNMP agent, and recordings of what it answered."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings
from hsm_agent.collect.identity import SeenObjectsFile
from hsm_agent.collect.series import without_forgotten
from hsm_agent.collect.snmp.fetch import NAMES_A_GET, ApplianceClient, fetch, plan_of
from hsm_agent.collect.snmp.parse import ApplianceAnswers, ApplianceMemory, digest, parse
from hsm_agent.collect.snmp.profile import Profile, names, profile
from hsm_agent.collect.snmp.values import text_of
from hsm_agent.metrics import is_custom
from hsm_agent.net.address import Address
from hsm_agent.settings.snmp import MAX_RETRIES, SnmpPeerSettings
from hsm_agent.settings.types import one_or_more
from hsm_agent.threads import Lane
from hsm_agent.wire.snmp.ber import Undecodable, parse_oid
from hsm_agent.wire.snmp.usm import load_aes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hsm_agent.collect.snmp.fetch import FetchResult, SnmpClient
    from hsm_agent.collect.snmp.parse import ParsedAnswers
    from hsm_agent.collect.snmp.values import RawValue
    from hsm_agent.wire.snmp.ber import Oid

_DAY = 86400.0
_SCHEMES = ("udp", "udp6")
_WORK_SECONDS = 60.0
_MANY_VALUES = 1000
"""Parsing takes some 5 us a value; more than this would hold up the loop."""


def _address(text: str) -> str:
    return str(Address.parse(text, _SCHEMES))


def _known_profiles(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        profile(name)
    return names


class SnmpSettings(SnmpPeerSettings, SourceSettings):
    """An appliance and what is read of it."""

    kind: Literal["snmp"]
    to: Annotated[str, AfterValidator(_address)]
    context: str = ""
    profile: Annotated[tuple[str, ...], BeforeValidator(one_or_more), AfterValidator(_known_profiles)] = ()
    custom: Profile | None = None
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] = 2

    @model_validator(mode="after")
    def _something_is_read(self) -> Self:
        if self.version == "v2c" and self.context:
            raise ValueError("context: not for version v2c")
        if not self.profile and self.custom is None:
            raise ValueError("profile: nothing to read; name a profile, or write your own under `custom`")
        return self

    def build(self, context: CollectorContext) -> Collector:
        return SnmpCollector(self, context)

    def about(self) -> Iterator[str]:
        yield f"{self.to} {self.version}"
        own = ("custom",) if self.custom is not None else ()
        yield f"profiles {', '.join((*self.profile, *own))}"

    def metrics_produced(self) -> Mapping[str, str]:
        return dict.fromkeys(sorted(set().union(*(each.metrics() for each in self.profiles().values()))), "")

    @staticmethod
    def mask(raw: object) -> object:
        return masked(raw) if isinstance(raw, ApplianceAnswers) else None

    def declares(self) -> frozenset[str]:
        return frozenset(name for name in (self.custom.metrics() if self.custom else ()) if is_custom(name))

    def profiles(self) -> dict[str, Profile]:
        """What is read, by name."""
        own = {"custom": self.custom} if self.custom is not None else {}
        return {name: profile(name) for name in self.profile} | own

    def client(self, clock: Callable[[], float] = time.monotonic) -> ApplianceClient:
        """The client of the appliance. Derives a user's keys, and loads their cipher: for a thread."""
        user = self.user.user() if self.user else None
        if user is not None and user.privacy:
            load_aes()
        return ApplianceClient(
            address=Address.parse(self.to, _SCHEMES),
            timeout_seconds=self.timeout,
            retries=self.retries,
            community=self.community.reveal().encode() if self.community else None,
            user=user,
            context=self.context.encode(),
            answers_from=self.answers_from,
            clock=clock,
        )


class SnmpCollector(Collector):
    """Reads one appliance. Polls are serial; between them it holds nothing but a quiet socket."""

    kind = "snmp"

    def __init__(
        self,
        settings: SnmpSettings,
        context: CollectorContext | None = None,
        *,
        connect: Callable[[], SnmpClient] | None = None,
    ) -> None:
        """`connect` makes the client of the appliance, on a thread.

        Without a context rows are remembered for no longer than this process.
        """
        super().__init__(settings)
        self._profiles = settings.profiles()
        self._plan = plan_of(self._profiles.values())
        self._settings = settings
        self._connect = connect or settings.client
        self._client: SnmpClient | None = None
        self._known = ApplianceMemory()
        self._forgotten: set[str] = set()
        """Resources forgotten while a poll was parsed."""
        self._thread = Lane(f"source {settings.name}: reckoning")
        tables = [table for each in self._profiles.values() for table in each.tables]
        self._prefixes = [table.prefix for table in tables]
        digests = [digest(table) for table in tables]
        self._memory = (
            SeenObjectsFile(context.state_directory, settings.name, digests, kind="snmp")
            if context and tables
            else None
        )
        self._is_new = self._memory is not None

    async def poll(self) -> Poll:
        """Read everything. Raises SourceFailure within the source's own time-out."""
        if self._client is None:  # not when it is built: a hundred of them would hold up the loop
            self._client = await self._thread.call(self._connect, seconds=_WORK_SECONDS)
        await self._remember()
        client = self._client
        client.begin()
        result = await fetch(client, self._plan)
        if not result.answer_count:
            client.close()
            raise SourceFailure(f"{self._settings.to}: {result.errors[0]}")
        parsed = await self._parse(result)
        errors = (*result.errors, *self._absent(parsed))
        if not any(reading.value is not None for reading in parsed.readings):
            why = errors[0] if errors else "it has no value that has a meaning here"
            raise SourceFailure(f"{self._settings.to}: {why}")
        self._known = parsed.known
        await self._keep()
        return Poll(
            readings=parsed.readings,
            next_in_seconds=self.every_seconds,
            errors=errors,
            slowest_call_seconds=client.traffic.slowest_seconds,
            calls=dict(client.traffic.calls),
            raw=result,
            complete=not errors,
            gone=parsed.gone,
        )

    async def _remember(self) -> None:
        """Load, once, the rows that the last process knew."""
        if self._memory is not None and self._is_new:
            rows = await self._memory.load()
            # A poll and an operator's `forget` may both have waited: only the first to come back starts the memory.
            if self._is_new:
                self._is_new, self._known = False, ApplianceMemory(rows=rows, is_restored=True)

    async def _keep(self) -> None:
        if self._memory is not None:
            await self._memory.keep({number: dict(rows) for number, rows in self._known.rows.items()})

    async def _parse(self, result: FetchResult) -> ParsedAnswers:
        self._forgotten.clear()
        profiles, own = tuple(self._profiles.values()), self._settings.custom
        work = partial(parse, result, profiles, self._known, source=self.name, now=time.time(), own=own)
        count = len(result.values) + sum(len(row) for rows in result.rows.values() for row in rows.values())
        if count <= _MANY_VALUES:
            return work()
        parsed = await self._thread.call(work, seconds=_WORK_SECONDS)
        # The thread used what was known at its start: it still misses what an operator forgot in the meantime.
        readings = tuple(without_forgotten(parsed.readings, self._forgotten))
        return replace(parsed, readings=readings, known=parsed.known.without(self._forgotten, self._prefixes))

    def _absent(self, parsed: ParsedAnswers) -> Iterator[str]:
        for name, found in zip(self._profiles, parsed.found, strict=True):
            if not found:
                yield (
                    f"nothing of profile '{name}' is there: check that the appliance is of that kind, and that its "
                    "agent lets this user or community see it"
                )

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()

    async def forget(self, resource: str) -> bool:
        """Stop missing a partition, a disk or a sensor that was removed. Returns False if it was not known."""
        await self._remember()
        kept = self._known.without({resource}, self._prefixes)
        if kept == self._known:
            return False
        self._known = kept
        self._forgotten.add(resource)
        await self._keep()
        return True

    def calls_a_day(self) -> Mapping[str, float]:
        """Requests a day: a table takes one for each 50 values, and two at least."""
        polls = _DAY / self.every_seconds
        gets = -(-len(self._plan.values) // NAMES_A_GET)
        counts = {"GET": gets * polls, "GETBULK (at least)": 2 * len(self._plan.tables) * polls}
        return {name: count for name, count in counts.items() if count}


def masked(answers: ApplianceAnswers) -> dict[str, Any]:
    """A recording of what was read, fit to be shown to others.

        {"values": {OID: value}, "rows": {OID of the entry: {index: {column: value}}}, "failed": {OID: reason}}

    A value is a number, a text, {"oid": …}, or {"undecodable": what came}. Texts that some profile knows as a state are
    kept; of any other text letters become x and digits 9, so that labels, serials, addresses and versions are gone and
    their form is not. Indexes of more than one number, which may spell a serial, are counted instead.
    """
    return {
        "values": {text_of(oid): _value(raw) for oid, raw in answers.values.items()},
        "rows": {text_of(entry): _rows(rows) for entry, rows in answers.rows.items()},
        "failed": {text_of(oid): reason for oid, reason in answers.failed.items()},
    }


def replayed(recorded: Mapping[str, Any]) -> ApplianceAnswers:
    """The answers of a recording."""
    return ApplianceAnswers(
        values={parse_oid(oid): _raw(value) for oid, value in recorded["values"].items()},
        rows={
            parse_oid(entry): {
                parse_oid(index): {parse_oid(column): _raw(value) for column, value in row.items()}
                for index, row in rows.items()
            }
            for entry, rows in recorded["rows"].items()
        },
        failed={parse_oid(oid): reason for oid, reason in recorded["failed"].items()},
    )


def _rows(rows: Mapping[Oid, Mapping[Oid, RawValue]]) -> dict[str, dict[str, Any]]:
    plain = all(len(index) == 1 for index in rows)
    return {
        text_of(index) if plain else str(place): {text_of(column): _value(raw) for column, raw in row.items()}
        for place, (index, row) in enumerate(rows.items(), 1)
    }


def _value(raw: RawValue) -> object:
    if isinstance(raw, int):
        return raw
    text = text_of(raw)
    if isinstance(raw, tuple):
        return {"oid": text}
    if isinstance(raw, Undecodable):
        return {"undecodable": text.partition(":")[0]}  # without its octets, which may be a serial's
    return (
        text
        if text.lower() in _state_texts()
        else "".join("9" if one.isdigit() else "x" if one.isalpha() else one for one in text)
    )


@cache
def _state_texts() -> frozenset[str]:
    """Texts that have a meaning in some profile; without numbers, since a serial may be one."""
    scopes = (scope for one in map(profile, names()) for scope in (one, *one.tables))
    texts = (text for scope in scopes for value in scope.values for text in value.states)
    return frozenset(text.lower() for text in texts if not text.isdigit())


def _raw(value: Any) -> RawValue:
    if isinstance(value, dict):
        return Undecodable(value["undecodable"]) if "undecodable" in value else parse_oid(value["oid"])
    return value if isinstance(value, int) else str(value).encode()
