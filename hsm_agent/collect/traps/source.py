"""The source `kind: snmp_trap_listener`: traps and informs of appliances become alarms of the agent.

A poll follows each trap at once, and otherwise `every`. Severity is not decided here: a trap becomes the reading
`vendor_alarm`, which rules evaluate.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, Field, model_validator

from hsm_agent.collect.base import Poll, PushCollector, SourceFailure, SourceSettings
from hsm_agent.collect.traps.duplicates import DuplicateFilter, KnownNotifications, TrapProgress
from hsm_agent.collect.traps.held_alarms import AlarmKey, ApplyResult, TrapAlarms
from hsm_agent.collect.traps.intake import MOST_PENDING, Intake, permitted
from hsm_agent.collect.traps.state_file import (
    Clocks,
    ListenerState,
    ListenerStateFile,
    StateUnreadableError,
    restored_clocks,
    stored_clocks,
)
from hsm_agent.collect.traps.trap_maps import (
    MAX_COMPONENT_OCTETS,
    TrapMapSettings,
    clean,
    combined,
)
from hsm_agent.metrics.tables import TRAPS
from hsm_agent.net.udp import UdpListener
from hsm_agent.settings.secret import Secret
from hsm_agent.settings.snmp import (
    LOOPBACK,
    EngineId,
    ListenAddress,
    Networks,
    SnmpUser,
    listen_address,
    reject_duplicates,
)
from hsm_agent.settings.types import Interval, Strict
from hsm_agent.state.snmp_engine import EngineStateError, held_engine, start_engine
from hsm_agent.threads import Lane, StuckError
from hsm_agent.wire.snmp.trap_receiver import Drop, SendingUser, TrapReceiver
from hsm_agent.wire.snmp.usm import load_aes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hsm_agent.collect.base import Collector, CollectorContext
    from hsm_agent.collect.traps.intake import PendingNotification
    from hsm_agent.model import Series
    from hsm_agent.wire.snmp.engine import Engine

log = logging.getLogger(__name__)

_LONGEST_INTERVAL_SECONDS = 300.0
MOST_AT_ONCE = 250
"""Notifications that one poll applies; the next poll comes at once."""
APPLIED_BETWEEN_YIELDS = 16
"""Notifications between two yields to the event loop: finding room in a full table takes half a millisecond."""


def _parse_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError(f"not an IP address: {text!r}") from error


def _parse_device(text: str) -> str:
    if not text or clean(text, MAX_COMPONENT_OCTETS) != text:
        raise ValueError(f"not a name: it has 1 to {MAX_COMPONENT_OCTETS} printable octets")
    return text


DeviceAddress = Annotated[str, AfterValidator(_parse_address)]
DeviceName = Annotated[str, AfterValidator(_parse_device)]


class TrapCommunity(Strict):
    """An SNMPv1 or SNMPv2c community, which is a secret."""

    name: Secret


class TrapUser(SnmpUser):
    """An SNMPv3 user: of informs, and of the traps of these engines."""

    engine_ids: tuple[EngineId, ...] = ()


class SnmpTrapListenerSettings(SourceSettings):
    """Where traps are received, from whom, and what they mean."""

    kind: Literal["snmp_trap_listener"]
    every: Annotated[Interval, Field(le=_LONGEST_INTERVAL_SECONDS)] = 60.0
    listen: Annotated[tuple[ListenAddress, ...], Field(min_length=1)] = ("udp:127.0.0.1:1162",)
    networks: Networks = LOOPBACK
    communities: tuple[TrapCommunity, ...] = ()
    users: tuple[TrapUser, ...] = ()
    devices: dict[DeviceAddress, DeviceName] = Field(default_factory=dict)
    vendors: tuple[Literal["luna", "utimaco"], ...] = ("luna", "utimaco")
    maps: tuple[TrapMapSettings, ...] = ()
    clear_after: Interval = 86400.0

    @model_validator(mode="after")
    def _somebody_can_speak(self) -> Self:
        reject_duplicates("listen", [listen_address(text) for text in self.listen if listen_address(text)[1]])
        reject_duplicates("users", [user.name for user in self.users])
        reject_duplicates("communities", [community.name.reveal() for community in self.communities])
        if not self.users and not self.communities:
            raise ValueError("users: without users and communities nobody can be heard")
        combined(self.maps, self.vendors)
        return self

    def build(self, context: CollectorContext) -> Collector:
        return TrapListener(self, context)

    def metrics_produced(self) -> Mapping[str, str]:
        return dict.fromkeys((metric.name for metric in TRAPS), "")

    def about(self) -> Iterator[str]:
        yield ", ".join(self.listen)
        yield f"from {', '.join(map(str, self.networks))}"
        users = ", ".join(user.name for user in self.users) or "none"
        yield f"communities: {len(self.communities)}; users: {users}"
        yield f"maps: {', '.join(self.vendors) or 'none'} built in, {len(self.maps)} own"


class TrapListener(PushCollector):
    """Listens from its first poll on. Between polls notifications wait in the intake."""

    kind = "snmp_trap_listener"

    def __init__(
        self,
        settings: SnmpTrapListenerSettings,
        context: CollectorContext,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(settings)
        self._settings = settings
        self._directory = context.state_directory / f"traps-{quote(settings.name, safe='')}"
        self._state_file = ListenerStateFile(self._directory)
        self._thread = Lane(str(self._directory))
        self._monotonic = monotonic
        self._wall = wall
        self._table = combined(settings.maps, settings.vendors)
        self._alarms = TrapAlarms({}, clear_after_seconds=settings.clear_after, devices=settings.devices)
        self._intake: Intake | None = None
        self._listeners: list[UdpListener] = []
        self._woken = asyncio.Event()
        self._knows_all_alarms = False
        self._is_unsaved = False
        self._unacknowledged: deque[Callable[[], None]] = deque(maxlen=MOST_PENDING)
        """Acknowledgements of applied informs not yet on disk; a dropped one is sent at the next repetition."""
        self._problem = ""
        self._held = ""

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """The addresses it listens at, with the ports the kernel chose."""
        return tuple(listener.address for listener in self._listeners)

    async def poll(self) -> Poll:
        """Apply what was received, and return the state of all alarms. The first poll opens the sockets."""
        if self._intake is None:
            self._intake = await self._open()
        intake = self._intake
        intake.note_unread([listener.dropped() for listener in self._listeners])
        await self._apply_pending(intake)
        if self._is_unsaved:
            await self._save(intake)
        if self._held:
            await self._release(intake)
        now = self._wall()
        return Poll(
            readings=(*self._alarms.readings(self.name, now), *intake.readings(now)),
            next_in_seconds=0.0,
            errors=tuple(problem for problem in (self._problem, self._held) if problem),
            complete=self._knows_all_alarms and not self._alarms.evicted,
            gone=self._alarms.gone(),
        )

    async def _open(self) -> Intake:
        self._bind()
        try:
            async with asyncio.timeout(self._settings.timeout):
                intake = await self._prepare()
        except (TimeoutError, StuckError) as error:
            self._unbind()
            raise SourceFailure(f"no start within {self._settings.timeout:g} s: look at the state's disk") from error
        except BaseException:
            self._unbind()
            raise
        for listener in self._listeners:
            listener.start()
        return intake

    def _bind(self) -> None:
        for text in self._settings.listen:
            try:
                self._listeners.append(self._listener(*listen_address(text)))
            except OSError as error:
                self._unbind()
                why = f"{error.strerror}; see which program has the port, and whether the agent may have it"
                raise SourceFailure(f"cannot listen at {text}: {why}") from error

    def _unbind(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _listener(self, host: str, port: int) -> UdpListener:
        def handle(datagram: bytes, address: str) -> None:
            if self._intake is not None:
                self._intake.handle(datagram, address, listener.later())

        listener = UdpListener(host, port, handle)
        return listener

    async def _prepare(self) -> Intake:
        """Load everything that is needed before the first datagram: boots, alarms, clocks, keys."""
        seconds = self._settings.timeout
        engine = await self._thread.call(self._start_engine, seconds=seconds)
        clocks: Clocks = {}
        try:
            found = await self._state_file.load()
        except (StateUnreadableError, StuckError) as error:
            log.warning("source %s: alarms from before the start are not known: %s", self.name, error)
            found = None
        self._is_unsaved = found is None
        # Without the stored alarms a missing alarm must not be reported as cleared.
        self._knows_all_alarms = found is not None and not self._state_file.damaged
        if found is not None:
            clocks = found.clocks
            self._alarms.restore(found.alarms, found.evicted)
            self._is_unsaved = self._alarms.keep_only(self._is_wanted) or bool(self._state_file.damaged)
        return Intake(
            self.name,
            receiver=await self._thread.call(partial(self._receiver, engine, clocks), seconds=seconds),
            maps=self._table,
            networks=self._settings.networks,
            wake=self._woken.set,
            monotonic=self._monotonic,
            wall=self._wall,
            devices=self._settings.devices,
            duplicates=DuplicateFilter(found.duplicates if found is not None else KnownNotifications()),
        )

    def _is_wanted(self, key: AlarmKey) -> bool:
        return key.alarm in self._table.alarms and permitted(key.address, self._settings.networks) is not None

    def _start_engine(self) -> Engine:
        """The engine for v3 informs (their receiver is authoritative); held while its boots can't be stored."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            engine = start_engine(self._directory, engine_id=None, now=self._monotonic())
        except (OSError, EngineStateError) as error:
            self._held = f"informs of SNMPv3 are held back, the engine for them cannot start: {error}"
            return held_engine(engine_id=None, now=self._monotonic())
        self._held = ""
        return engine

    async def _release(self, intake: Intake) -> None:
        """Accept informs of SNMPv3 if the engine can start now."""
        seconds = self._settings.timeout
        try:
            engine = await self._thread.call(self._start_engine, seconds=seconds)
            if not engine.is_held:
                clocks = stored_clocks(intake.receiver.clocks, wall=self._wall(), monotonic=self._monotonic())
                intake.receiver = await self._thread.call(partial(self._receiver, engine, clocks), seconds=seconds)
        except StuckError as error:
            self._held = f"informs of SNMPv3 are held back: {error}"

    def _receiver(self, engine: Engine, clocks: Clocks) -> TrapReceiver:
        settings = self._settings
        users = [SendingUser(user.user(), user.engine_ids) for user in settings.users]
        if any(one.user.privacy for one in users):
            load_aes()  # here, on a thread: the first encrypted trap would hold up the event loop
        return TrapReceiver(
            engine=engine,
            communities=[community.name.reveal().encode() for community in settings.communities],
            users=users,
            clocks=restored_clocks(clocks, wall=self._wall(), monotonic=self._monotonic()),
        )

    async def wait(self) -> None:
        """Return when a notification is queued, an alarm is due to end, or `every` has passed; at once unless open."""
        if self._intake is None or self._intake.pending:
            return
        end = self._alarms.next_end()
        seconds = self.every_seconds if end is None else min(self.every_seconds, max(0.0, end - self._wall()))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _apply_pending(self, intake: Intake, *, everything: bool = False) -> None:
        """Apply queued notifications, of each sender up to the second change of one alarm.

        So each change of level is evaluated, however fast they come, and a sender of many delays only itself.
        """
        if self._alarms.expire(self._wall()):
            self._is_unsaved = True
        left = MOST_PENDING if everything else MOST_AT_ONCE
        for sender in intake.pending.senders():
            changed: set[AlarmKey] = set()
            while left > 0 and (pending := intake.pending.first(sender)) is not None:
                changes = {key for event in pending.events for key in self._alarms.changed_by(event)}
                if changes & changed and not everything:
                    break
                changed |= changes
                left -= 1
                self._apply(intake, intake.pending.pop(sender))
                if left % APPLIED_BETWEEN_YIELDS == 0:
                    await asyncio.sleep(0)
        self._woken.clear()  # what is still queued is seen by the next poll without an event

    def _apply(self, intake: Intake, pending: PendingNotification) -> None:
        """Apply one notification; one that was not applied as a whole is not acknowledged."""
        self._is_unsaved = True
        found = {self._alarms.apply(event) for event in pending.events}
        if ApplyResult.FULL in found:
            intake.drop(Drop.ALARMS, pending.sender)
            pending.refuse()
            return
        if found == {ApplyResult.OUTDATED}:
            intake.drop(Drop.OUTDATED, pending.sender)
        pending.record(self._wall(), TrapProgress.APPLIED)
        if pending.acknowledge is not None:
            self._unacknowledged.append(pending.acknowledge)

    async def _save(self, intake: Intake) -> None:
        wall = self._wall()
        receiver = intake.receiver
        state = ListenerState(
            self._alarms.known,
            stored_clocks(receiver.clocks, wall=wall, monotonic=self._monotonic()),
            intake.duplicates.to_store(wall, receiver.clocks),
            tuple(self._alarms.evicted),
        )
        count = len(self._unacknowledged)
        self._is_unsaved = False  # before the disk is waited for: what changes meanwhile is not in this state
        try:
            await self._state_file.save(state)
        except OSError as error:
            self._is_unsaved = True
            self._problem = f"{self._directory}: cannot be written, a restart would forget alarms: {error.strerror}"
            return
        self._problem = ""
        intake.duplicates.mark_stored(state.duplicates)
        for _ in range(count):
            self._unacknowledged.popleft()()

    async def close(self) -> None:
        """Apply and store what is queued, then close the sockets: an inform that was taken is acknowledged."""
        if self._intake is not None:
            await self._apply_pending(self._intake, everything=True)
            if self._is_unsaved:
                await self._save(self._intake)
        self._unbind()
        self._intake = None

    async def end_alarm(self, series: Series) -> bool:
        """Clear an alarm; the next poll, which comes at once, stores it."""
        _, resource, _, labels = series
        if not self._alarms.end(resource, dict(labels).get("alarm", "")):
            return False
        self._is_unsaved = True
        self._woken.set()
        return True
