"""The SNMP responder: sockets, who may ask, and the views they are answered from.

It reads the store only. Who may ask is decided in wire/snmp/authority, what is answered in answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.net.udp import UdpListener
from hsm_agent.serve.hide import Mask
from hsm_agent.serve.snmp.scalars import engine_groups, system_group
from hsm_agent.serve.snmp.tables import WHOLE, Scope, Tables
from hsm_agent.serve.snmp.view import Moment, Segment, answer
from hsm_agent.settings.snmp import listen_address
from hsm_agent.state.row_indexes import Indexes
from hsm_agent.threads import Lane, StuckError
from hsm_agent.wire.snmp.authority import Authority, Refusal
from hsm_agent.wire.snmp.engine import Counters
from hsm_agent.wire.snmp.pdu import Community, Version
from hsm_agent.wire.snmp.usm import load_aes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from hsm_agent.serve.settings import HideKind, ServerCommunity, ServerUser, SnmpServerSettings
    from hsm_agent.store import Store
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.engine import Engine
    from hsm_agent.wire.snmp.usm import User

log = logging.getLogger(__name__)

_DISK_SECONDS = 10.0
_KEYS_SECONDS = 60.0
REPORT_SECONDS = 60.0
MOST_SENDERS = 64


class SnmpServerError(Exception):
    """The responder can't be started or changed; the text names the key or the file."""


Hidden = frozenset["HideKind"]
"""What a view hides."""


@dataclass(frozen=True, slots=True)
class _Service:
    """Whom to answer, and from which view: swapped as one."""

    authority: Authority
    views: dict[tuple[bool, str], tuple[Hidden, Scope]]
    tables: dict[Hidden, Tables]
    """By what their views hide."""


class AuthFailureReports:
    """Reports failed authentications: at most once a minute for each sender, and for few senders at a time.

    Addresses of UDP datagrams can be forged: without the second bound, a flood of forged ones would make the agent
    flood its own receivers with authenticationFailure traps.
    """

    def __init__(self, report: Callable[[str], None], monotonic: Callable[[], float]) -> None:
        self._report = report
        self._monotonic = monotonic
        self._reported: dict[str, float] = {}

    def note(self, address: str) -> None:
        """A sender failed."""
        now = self._monotonic()
        if address in self._reported and now - self._reported[address] < REPORT_SECONDS:
            return
        if len(self._reported) >= MOST_SENDERS:
            self._reported = {one: at for one, at in self._reported.items() if now - at < REPORT_SECONDS}
        if len(self._reported) >= MOST_SENDERS:
            return
        self._reported[address] = now
        self._report(address)


class Responder:
    """Answers SNMP from the store until closed."""

    def __init__(
        self,
        settings: SnmpServerSettings,
        store: Store,
        engine: Engine,
        *,
        state_directory: Path,
        hide_key: Callable[[], bytes] = bytes,
        on_authentication_failure: Callable[[str], None] = lambda _address: None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`on_authentication_failure` is called with the address, at most once a minute for each.

        `hide_key` is that of the pseudonyms; asked for where a user or a community is to be shown some.
        """
        self.counters = Counters()
        self.recovered = ""
        """What of the stored indexes had to be put right at the start; empty if nothing."""
        self._settings = settings
        self._store = store
        self._engine = engine
        self._state_directory = state_directory
        self._hide_key = hide_key
        self._failures = AuthFailureReports(on_authentication_failure, monotonic)
        self._monotonic = monotonic
        self._wall = wall
        self._listeners: dict[str, UdpListener] = {}
        self._indexes: Indexes | None = None
        self._service: _Service | None = None
        self._noted = asyncio.Event()
        self._thread = Lane(f"serve.snmp: reading {state_directory}")

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens, in the order of the configuration, with the ports the kernel chose."""
        return tuple(listener.address for listener in self._listeners.values())

    @property
    def problem(self) -> str:
        """Why the indexes of its rows are not all stored; empty as long as they are."""
        return self._indexes.problem if self._indexes is not None else ""

    async def start(self) -> None:
        """Load the indexes, bind every socket, answer. Raises SnmpServerError."""
        load = partial(Indexes.load, self._state_directory)
        try:
            self._indexes = await self._thread.call(load, seconds=_DISK_SECONDS)
        except StuckError as error:
            self._indexes = Indexes.unread(self._state_directory, str(error))
        self.recovered = self._indexes.damage
        if self.recovered:
            log.error("snmp: %s", self.recovered)
        await self.reconfigure(self._settings)
        if not self._settings.users and not self._settings.communities:
            log.warning("serve.snmp: no users and no communities: no request is answered")

    async def reconfigure(self, settings: SnmpServerSettings) -> None:
        """Other users, communities, places to listen; sockets that stay are kept open.

        Raises SnmpServerError, and then everything is as it was.
        """
        if settings.engine_id != self._settings.engine_id:
            raise SnmpServerError("serve.snmp.engine_id: another engine ID needs a restart")
        released = self._release_ports(settings.listen)
        fresh: dict[str, UdpListener] = {}
        try:
            fresh = self._bind(text for text in settings.listen if text not in self._listeners)
            service = await self._make_service(settings)
        except BaseException:
            for listener in fresh.values():
                listener.close()
            for text, listener in self._bind(released).items():
                listener.start()
                self._listeners[text] = listener
            raise
        self._settings, self._service = settings, service
        every = {**self._listeners, **fresh}
        self._listeners = {text: every.pop(text) for text in settings.listen}
        for listener in every.values():
            listener.close()
        for listener in fresh.values():
            listener.start()
        self.changed(self._store.sources, alarms=True)  # what changed meanwhile was noted in the tables before these

    async def adopt(self, engine: Engine) -> None:
        """Continue as this engine, with the same users and communities; the engine's own objects change."""
        self._engine = engine
        await self.reconfigure(self._settings)

    def changed(self, sources: Iterable[str], *, alarms: bool) -> None:
        """Take in what the store now holds of these sources, and the alarms if they changed; `run` shows it soon."""
        if self._service is not None:
            for tables in self._service.tables.values():
                tables.note(sources, alarms=alarms)
            self._noted.set()

    async def run(self) -> None:
        """Bring the tables up to date, until cancelled; evaluation and delivery do not wait for it."""
        if any(user.privacy for user in self._settings.users):
            with suppress(StuckError):  # the first encrypted message loads it otherwise, and is held up
                await self._thread.call(load_aes, seconds=_DISK_SECONDS)
        while True:
            await self._noted.wait()
            self._noted.clear()
            await self.catch_up()

    async def catch_up(self) -> None:
        """Return when everything that changed is shown."""
        if self._service is not None:
            for tables in self._service.tables.values():
                await tables.catch_up()

    async def close(self) -> None:
        """Answer no more."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners = {}

    def _release_ports(self, places: Collection[str]) -> list[str]:
        """Close the sockets that stand in the way of new ones: one that listens on all addresses takes the port."""
        ports = {listen_address(text)[1] for text in places if text not in self._listeners} - {0}
        released = [text for text in self._listeners if text not in places and listen_address(text)[1] in ports]
        for text in released:
            self._listeners.pop(text).close()
        return released

    def _bind(self, places: Iterable[str]) -> dict[str, UdpListener]:
        bound: dict[str, UdpListener] = {}
        for text in places:
            try:
                bound[text] = UdpListener(*listen_address(text), self.handle)
            except OSError as error:
                for listener in bound.values():
                    listener.close()
                raise SnmpServerError(f"serve.snmp.listen: {text}: {error.strerror}") from error
        return bound

    async def _make_service(self, settings: SnmpServerSettings) -> _Service:
        assert self._indexes is not None, "started"
        # On a thread: the keys of each user take milliseconds.
        users = await self._thread.call(partial(self._users, settings), seconds=_KEYS_SECONDS)
        authority = Authority(
            engine=self._engine,
            users=users,
            communities=[
                Community(name=str(number), secret=community.name.reveal().encode(), networks=community.networks)
                for number, community in enumerate(settings.communities)
            ],
            v1=settings.v1,
            counters=self.counters,
            authentication_failed=self._failures.note,
        )
        views = {(True, user.name): _view(user) for user in settings.users}
        views |= {(False, str(number)): _view(one) for number, one in enumerate(settings.communities)}
        return _Service(authority, views, await self._make_tables(settings, views.values()))

    async def _make_tables(
        self, settings: SnmpServerSettings, views: Collection[tuple[Hidden, Scope]]
    ) -> dict[Hidden, Tables]:
        """A set of tables for each set of what is hidden; those that are there already go on."""
        assert self._indexes is not None, "started"
        kept = self._service.tables if self._service and settings.base_oid == self._settings.base_oid else {}
        made = {}
        for hidden in {hidden for hidden, _ in views}:
            tables = kept.get(hidden)
            is_new = tables is None
            mask = Mask(hidden, self._hide_key()) if hidden else None
            tables = tables or Tables(store=self._store, base=settings.base_oid, indexes=self._indexes, mask=mask)
            await tables.arrange({scope for each, scope in views if each == hidden}, self._scalars(settings))
            if is_new:
                await tables.refresh(self._store.sources, alarms=True)
            made[hidden] = tables
        return made

    def _users(self, settings: SnmpServerSettings) -> list[User]:
        users = [user.user() for user in settings.users]
        if self._service is not None and any(user.privacy for user in users):
            load_aes()  # `run`, which does it after the start, is past that
        return users

    def _scalars(self, settings: SnmpServerSettings) -> dict[Oid, Segment]:
        system = system_group(
            base=settings.base_oid,
            engine=self._engine,
            name=self._store.agent_name,
            contact=settings.system.contact,
            location=settings.system.location,
        )
        return {**system, **engine_groups(self._engine, self.counters)}

    def handle(self, datagram: bytes, address: str) -> bytes | None:
        """What is answered to a datagram; None if nothing is. Raises nothing, whatever comes."""
        service = self._service
        if service is None:
            return None
        now = self._monotonic()
        request = service.authority.receive(datagram, address, now)
        if isinstance(request, Refusal):
            return request.answer
        hidden, scope = service.views[request.version is Version.V3, request.principal]
        view = service.tables[hidden].view(scope)
        return service.authority.respond(request, *answer(request, view, Moment(now, self._wall())))


def _view(principal: ServerUser | ServerCommunity) -> tuple[Hidden, Scope]:
    tokens = principal.tokens
    return frozenset(principal.hide or ()), frozenset({WHOLE}) if WHOLE in tokens else frozenset(tokens)
