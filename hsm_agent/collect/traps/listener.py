"""Listens for traps and informs, and reads them as alarms.

It is spoken to and does not ask: a poll returns as soon as a trap has come, or else after `every`. It must not judge:
a trap becomes the reading `vendor_alarm`, and rules decide.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from hsm_agent.collect.base import Poll, SourceFailure
from hsm_agent.collect.traps.held_alarms import Alarms, Key, Taken
from hsm_agent.collect.traps.intake import Intake, permitted
from hsm_agent.collect.traps.parsed_text import Heard, Kept, Place
from hsm_agent.collect.traps.settings import combined
from hsm_agent.collect.traps.state_file import Clocks, MemoryUnreadableError, Remembered, TrapMemory, revived, stored
from hsm_agent.collect.traps.waiting import MOST_WAITING
from hsm_agent.net.udp_server import Listener
from hsm_agent.settings.snmp import listen_address
from hsm_agent.state.snmp_engine import EngineStateError, held_engine, start_engine
from hsm_agent.threads import Lane, StuckError
from hsm_agent.wire.snmp.trap import Drop
from hsm_agent.wire.snmp.trap_receiver import SendingUser, TrapReceiver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hsm_agent.collect.base import CollectorContext
    from hsm_agent.collect.traps.settings import ListenerSettings
    from hsm_agent.collect.traps.waiting import Notice
    from hsm_agent.model import Series
    from hsm_agent.wire.snmp.engine import Engine

log = logging.getLogger(__name__)

MOST_AT_ONCE = 250
"""Notifications that one poll takes in; the next poll comes at once."""
NOTICES_A_TURN = 16
"""Then others have theirs: to look for room in a full table takes half a millisecond."""


class TrapListener:
    """Listens from its first poll on. Between polls nothing is lost: what comes waits in the intake."""

    kind = "snmp_trap_listener"

    def __init__(
        self,
        settings: ListenerSettings,
        context: CollectorContext,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._directory = context.state_directory / f"traps-{quote(settings.name, safe='')}"
        self._memory = TrapMemory(self._directory)
        self._thread = Lane(str(self._directory))
        self._monotonic = monotonic
        self._wall = wall
        self._maps = combined(settings.maps, settings.vendors)
        self._alarms = Alarms({}, clear_after=settings.clear_after, devices=settings.devices)
        self._intake: Intake | None = None
        self._listeners: list[Listener] = []
        self._woken = asyncio.Event()
        self._remembers_all = False
        self._unsaved = False
        self._owed: deque[Callable[[], None]] = deque(maxlen=MOST_WAITING)
        """Acknowledgements of what is taken in and not on disk yet; one that falls out is given when it is repeated."""
        self._problem = ""
        self._held = ""

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        return self._settings.name

    @property
    def every(self) -> float:
        """Seconds between polls when nothing comes."""
        return self._settings.every

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens, with the ports the kernel chose."""
        return tuple(listener.address for listener in self._listeners)

    async def poll(self) -> Poll:
        """Wait for traps, take in what came, and say how all alarms stand. The first one opens the sockets."""
        began = self._monotonic()
        waited = 0.0
        if self._intake is None:
            self._intake = await self._open()
        else:
            await self._wait(self._intake)
            waited = self._monotonic() - began
        intake = self._intake
        intake.note_unread([listener.dropped() for listener in self._listeners])
        await self._take(intake)
        if self._unsaved:
            await self._save(intake)
        if self._held:
            await self._release(intake)
        now = self._wall()
        return Poll(
            readings=(*self._alarms.readings(self.name, now), *intake.readings(self.name, now)),
            next_in=0.0,
            errors=tuple(problem for problem in (self._problem, self._held) if problem),
            complete=self._remembers_all and not self._alarms.pushed_out,
            gone=self._alarms.gone(),
            waited_seconds=waited,
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

    def _listener(self, host: str, port: int) -> Listener:
        def handle(datagram: bytes, address: str) -> None:
            if self._intake is not None:
                self._intake.handle(datagram, address, listener.later())

        listener = Listener(host, port, handle)
        return listener

    async def _prepare(self) -> Intake:
        """Everything that must be known before the first datagram: boots, alarms, clocks, keys."""
        seconds = self._settings.timeout
        engine = await self._thread.call(self._start_engine, seconds=seconds)
        clocks: Clocks = {}
        try:
            found = await self._memory.load()
        except MemoryUnreadableError as error:
            log.warning("source %s: alarms from before the start are not known: %s", self.name, error)
            found = None
        self._unsaved = found is None
        # Only who knows all that was raised may say that nothing else is.
        self._remembers_all = found is not None and not self._memory.damaged
        if found is not None:
            clocks = found.clocks
            self._alarms.recall(found.alarms, found.pushed_out)
            self._unsaved = self._alarms.keep_only(self._is_wanted) or bool(self._memory.damaged)
        return Intake(
            self.name,
            receiver=await self._thread.call(partial(self._receiver, engine, clocks), seconds=seconds),
            maps=self._maps,
            networks=self._settings.networks,
            wake=self._woken.set,
            monotonic=self._monotonic,
            wall=self._wall,
            devices=self._settings.devices,
            heard=Heard(found.heard if found is not None else Kept()),
        )

    def _is_wanted(self, key: Key) -> bool:
        return key.alarm in self._maps.alarms and permitted(key.address, self._settings.networks) is not None

    def _start_engine(self) -> Engine:
        """The engine of which v3 informs are asked; held while its boots can't be stored, and the rest is heard."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            engine = start_engine(self._directory, engine_id=None, now=self._monotonic())
        except (OSError, EngineStateError) as error:
            self._held = f"informs of SNMPv3 are held back, the engine for them cannot start: {error}"
            return held_engine(engine_id=None, now=self._monotonic())
        self._held = ""
        return engine

    async def _release(self, intake: Intake) -> None:
        """Begin with informs of SNMPv3 if that can be done now."""
        seconds = self._settings.timeout
        try:
            engine = await self._thread.call(self._start_engine, seconds=seconds)
            if not engine.is_held:
                clocks = stored(intake.receiver.clocks, wall=self._wall(), monotonic=self._monotonic())
                intake.receiver = await self._thread.call(partial(self._receiver, engine, clocks), seconds=seconds)
        except StuckError as error:
            self._held = f"informs of SNMPv3 are held back: {error}"

    def _receiver(self, engine: Engine, clocks: Clocks) -> TrapReceiver:
        settings = self._settings
        return TrapReceiver(
            engine=engine,
            communities=[community.name.reveal().encode() for community in settings.communities],
            users=[SendingUser(user.user(), user.engine_ids) for user in settings.users],
            clocks=revived(clocks, wall=self._wall(), monotonic=self._monotonic()),
        )

    async def _wait(self, intake: Intake) -> None:
        """Until something waits to be taken in, an alarm is to end, or `every` is over."""
        if intake.waiting:
            return
        end = self._alarms.next_end()
        seconds = self.every if end is None else min(self.every, max(0.0, end - self._wall()))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _take(self, intake: Intake, *, everything: bool = False) -> None:
        """Take in what waits, of each sender up to the second turn of one alarm.

        Each turn is judged, however fast they come, and who sends many of them holds up nobody but himself.
        """
        if self._alarms.expire(self._wall()):
            self._unsaved = True
        left = MOST_WAITING if everything else MOST_AT_ONCE
        for sender in intake.waiting.senders():
            turned: set[Key] = set()
            while left > 0 and (notice := intake.waiting.first(sender)) is not None:
                turns = {key for happening in notice.happenings for key in self._alarms.turned(happening)}
                if turns & turned and not everything:
                    break
                turned |= turns
                left -= 1
                self._judge(intake, intake.waiting.leave(sender))
                if left % NOTICES_A_TURN == 0:
                    await asyncio.sleep(0)
        self._woken.clear()  # what still waits is not waited for

    def _judge(self, intake: Intake, notice: Notice) -> None:
        """Take in what one notification said; what was not taken as a whole is not acknowledged."""
        self._unsaved = True
        found = {self._alarms.apply(happening) for happening in notice.happenings}
        if Taken.FULL in found:
            intake.drop(Drop.ALARMS, notice.sender)
            notice.refuse()
            return
        if found == {Taken.OLD}:
            intake.drop(Drop.OUTDATED, notice.sender)
        notice.note(self._wall(), Place.TAKEN)
        if notice.acknowledge is not None:
            self._owed.append(notice.acknowledge)

    async def _save(self, intake: Intake) -> None:
        wall = self._wall()
        receiver = intake.receiver
        remembered = Remembered(
            self._alarms.known,
            stored(receiver.clocks, wall=wall, monotonic=self._monotonic()),
            intake.heard.kept(wall, receiver.clocks),
            tuple(self._alarms.pushed_out),
        )
        owed = len(self._owed)
        try:
            await self._memory.keep(remembered)
        except OSError as error:
            self._problem = f"{self._directory}: cannot be written, a restart would forget alarms: {error.strerror}"
            return
        self._unsaved, self._problem = False, ""
        intake.heard.store(remembered.heard)
        for _ in range(owed):
            self._owed.popleft()()

    async def close(self) -> None:
        """Close the sockets; what came and was not judged yet is on disk for the next start."""
        if self._intake is not None:
            await self._take(self._intake, everything=True)
            if self._unsaved:
                await self._save(self._intake)
        self._unbind()
        self._intake = None

    async def forget(self, resource: str) -> bool:
        """Never: nobody is missed here."""
        del resource
        return False

    async def end_alarm(self, series: Series) -> bool:
        """Read an alarm as cleared from now on; on disk with the next poll, which comes at once."""
        _, resource, _, labels = series
        if not self._alarms.end(resource, dict(labels).get("alarm", "")):
            return False
        self._unsaved = True
        self._woken.set()
        return True

    def pids(self) -> tuple[int, ...]:
        """None: sockets only."""
        return ()

    def calls_a_day(self) -> Mapping[str, float]:
        """None: it asks nobody."""
        return {}
