"""Spoiled traps and informs: nothing is raised, everything is counted, nothing grows, and the listener listens on."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.traps.duplicates import TrapProgress
from hsm_agent.collect.traps.held_alarms import MOST_ALARMS, TrapAlarms
from hsm_agent.collect.traps.intake import MOST_PENDING, MOST_SENDERS, Intake
from hsm_agent.collect.traps.trap_maps import MAX_NOTE_OCTETS, VENDORS, TrapTable
from hsm_agent.wire.snmp.pdu import Version, open_message
from hsm_agent.wire.snmp.trap_receiver import SendingUser, TrapReceiver
from tests.fakes.snmp_messages import AUTH_USER, NOW, PRIV_USER, engine
from tests.fakes.trap_mutator import TrapMutator, check_answer
from tests.fakes.traps import COMMUNITY, SENDER_ENGINE, v2c

if TYPE_CHECKING:
    from tests.fakes.snmp_mutator import Packet

PACKETS = 50_000
WARM_UP = 10_000
SEED = 2029
MOST_GROWTH_BYTES = 8 * 1024 * 1024


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def intake() -> Intake:
    users = (SendingUser(AUTH_USER, (SENDER_ENGINE,)), SendingUser(PRIV_USER, (SENDER_ENGINE,)))
    return Intake(
        "traps",
        receiver=TrapReceiver(engine=engine(), communities=(COMMUNITY,), users=users),
        maps=TrapTable([entry for entries in VENDORS.values() for entry in entries]),
        networks=(ip_network("127.0.0.0/8"),),
        wake=lambda: None,
        monotonic=lambda: NOW,
        wall=lambda: 1_700_000_000.0,
    )


class Fed:
    """An intake that is fed and emptied, and what came of each packet."""

    def __init__(self) -> None:
        self.intake = intake()
        self.alarms = TrapAlarms({}, clear_after_seconds=60.0, devices={})
        self.seen: Counter[str] = Counter()
        self.answered = 0

    def answer(self, answer: bytes) -> None:
        self.answered += 1
        self.seen["answered"] += 1
        check_answer(answer)

    def count(self, name: str) -> int:
        counts = self.intake.counts.items()
        return sum(count for (metric, _), count in counts if metric == f"traps_{name}_total")

    def feed(self, number: int, packet: Packet) -> None:
        one = self.intake
        received, dropped = self.count("received"), self.count("dropped")
        one.handle(packet.datagram, f"127.0.{number % 7}.{number % 251}", self.answer)
        answered, self.answered = self.answered, 0
        duplicates, lost = self.count("received") - received, self.count("dropped") - dropped
        self.seen["duplicates" if duplicates else "dropped" if lost else "getting acquainted"] += 1
        assert duplicates or lost or answered, "a datagram vanished without being counted"
        if duplicates and open_message(packet.datagram)[0] == Version.V3:
            assert packet.signed, "a v3 message was believed that nobody signed"
        assert len(one.pending) <= MOST_PENDING
        if number % 500 == 0:
            self.empty()

    def empty(self) -> None:
        for pending in [self.intake.pending.pop(one.sender) for one in list(self.intake.pending)]:
            pending.record(1_700_000_000.0, TrapProgress.APPLIED)
            if pending.acknowledge is not None:
                pending.acknowledge()
            for event in pending.events:
                assert len(event.change.note.encode()) <= MAX_NOTE_OCTETS
                assert event.change.note.isprintable()
                assert event.change.component.isprintable()
                self.alarms.apply(event)


@pytest.mark.timeout(180)
def test_spoiled_notifications_raise_nothing_and_leave_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    fed, mutator = Fed(), TrapMutator(SEED)

    for number, packet in enumerate(mutator.packets(WARM_UP)):
        fed.feed(number, packet)
    before = resident_bytes()
    for number, packet in enumerate(mutator.packets(PACKETS - WARM_UP)):
        fed.feed(number, packet)

    grown = resident_bytes() - before
    assert grown <= MOST_GROWTH_BYTES
    assert len(fed.alarms.known) <= MOST_ALARMS
    assert len(caplog.records) <= MOST_SENDERS + 1  # senders beyond the bound share one line
    # The mutator reaches every kind of end; a change that makes it blunt is seen here.
    assert all(fed.seen[kind] > PACKETS // 1000 for kind in ("duplicates", "dropped", "getting acquainted", "answered"))
    reasons = {
        dict(labels)["reason"]
        for (metric, labels), count in fed.intake.counts.items()
        if count and metric == "traps_dropped_total"
    }
    of_auth = {f"auth-{what}" for what in ("community", "user", "digest", "level", "engine", "privacy")}
    assert reasons >= {"malformed", "pdu", "version", *of_auth}
    received = fed.count("received")
    fed.intake.handle(v2c(), "127.0.0.1", fed.answer)
    assert fed.count("received") == received + 1
