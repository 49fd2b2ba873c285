"""What the agent publishes of itself, and what becomes of it when etcd does not take it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hsm_agent.agent.publisher import Publisher, report_of
from hsm_agent.config.publish import PublishSettings
from hsm_agent.model import ActiveAlarm, Event, EventKind, Severity, SourceState, SourceStatus
from hsm_agent.net.etcd_messages import EtcdUnavailable, Found, NoProof, Transacted
from hsm_agent.store import Store
from hsm_agent.wire.agent_report import MOST_REPORT_BYTES, decode, encode, key_of
from tests.fakes.fleet import NOW, MemoryEtcd, report

SETTINGS = PublishSettings.model_validate({"site": "fra", "etcd": {"endpoints": ["http://127.0.0.1:2379"]}})
KEY = key_of("monitor-1").encode()


def alarm(number: int, severity: Severity, *, silenced: bool = False) -> ActiveAlarm:
    event = Event(
        event_id=f"e{number}", kind=EventKind.RAISED, severity=severity, time=NOW, text=f"text {number}", agent="monitor-1"
    )  # fmt: skip
    series = ("luna-a", f"token {number}", "token_sessions", ())
    return ActiveAlarm(
        alarm_id=f"a{number}", rule="r", series=series, severity=severity, since=NOW + number, event=event, silenced=silenced
    )  # fmt: skip


def store(*alarms: ActiveAlarm) -> Store:
    made = Store(agent_name="monitor-1", started=NOW - 60, labels={})
    made.set_alarms({("r", each.series): each for each in alarms})
    for name, state in (("agent", SourceState.UP), ("luna-a", SourceState.UP), ("luna-b", SourceState.DOWN)):
        made.sources[name] = SourceStatus(name=name, kind="pkcs11", every_seconds=60.0, state=state)
    return made


class Desk:
    """A publisher on an etcd in memory, with a clock of its own."""

    def __init__(self, etcd: MemoryEtcd | None = None, *, held: Store | None = None) -> None:
        self.etcd = etcd or MemoryEtcd()
        self.seconds = 0.0
        self.publisher = Publisher(
            SETTINGS,
            held or store(),
            problem=lambda: "",
            etcd=self.etcd,
            wall=lambda: NOW + self.seconds,
            monotonic=lambda: self.seconds,
        )

    @property
    def told(self) -> tuple[float | None, str]:
        found = self.publisher.reading()
        return found.value, found.note


def test_the_report_counts_what_no_silence_holds_back_and_tells_the_worst() -> None:
    held = store(
        alarm(1, Severity.WARNING),
        alarm(2, Severity.CRITICAL),
        alarm(3, Severity.WARNING, silenced=True),
        alarm(4, Severity.INDETERMINATE),
        alarm(5, Severity.CRITICAL),
    )

    made = report_of(held, SETTINGS, run="r", now=NOW, problem="")

    assert {severity.value: count for severity, count in made.alarms.items() if count} == {
        "critical": 2,
        "warning": 1,
        "indeterminate": 1,
    }
    assert [(each.place, each.text) for each in made.worst] == [
        ("luna-a/token 2", "text 2"),
        ("luna-a/token 5", "text 5"),
        ("luna-a/token 1", "text 1"),
    ]
    assert (made.sources, made.sources_down, list(made.down)) == (2, 1, ["luna-b"])


def test_a_report_of_very_many_alarms_is_short() -> None:
    held = store(*(alarm(number, Severity.CRITICAL) for number in range(5000)))

    octets = encode(report_of(held, SETTINGS, run="r", now=NOW, problem="x" * 10_000))

    assert len(octets) < MOST_REPORT_BYTES / 8
    assert decode(octets).alarms[Severity.CRITICAL] == 5000


async def test_a_report_replaces_the_one_before() -> None:
    desk = Desk()

    assert await desk.publisher.once()
    desk.seconds = 60
    assert await desk.publisher.once()

    assert decode(desk.etcd.kept[KEY].value).time == NOW + 60
    assert desk.told == (0.0, "")


async def test_what_fails_is_a_reading_with_its_reason_and_is_well_again_afterwards() -> None:
    desk = Desk()
    await desk.publisher.once()
    desk.etcd.trouble = EtcdUnavailable({"http://a": NoProof("http://a: silent")})
    desk.seconds = 200
    assert not await desk.publisher.once()

    found = desk.publisher.reading()
    assert (found.metric, found.value, found.limit) == ("publish_age_seconds", 200.0, 180.0)

    desk.etcd.trouble = None
    assert await desk.publisher.once()
    assert desk.told == (0.0, "")


async def test_an_agent_that_starts_anew_takes_its_key_back() -> None:
    etcd = MemoryEtcd()
    etcd.publish("monitor-1", report(run="before"))

    assert await Desk(etcd).publisher.once()


async def test_a_key_that_an_operator_deleted_comes_back() -> None:
    desk = Desk()
    await desk.publisher.once()
    desk.etcd.kept.clear()

    assert await desk.publisher.once()
    assert set(desk.etcd.kept) == {KEY}


async def test_a_report_whose_answer_was_lost_is_no_other_agent() -> None:
    desk = Desk()
    await desk.publisher.once()
    desk.etcd.keep(KEY, desk.etcd.kept[KEY].value)

    assert await desk.publisher.once()


async def test_two_agents_of_one_name_find_out() -> None:
    etcd = MemoryEtcd()
    first, second = Desk(etcd), Desk(etcd)
    await first.publisher.once()
    await second.publisher.once()

    for desk in (first, second):
        desk.seconds = 60
    assert not await first.publisher.once()
    assert await second.publisher.once()
    assert not await first.publisher.once()

    assert first.told == (60.0, "another agent publishes as monitor-1 too: give each an agent.name of its own")


async def test_one_takes_over_from_another_of_its_name_that_has_ended() -> None:
    etcd = MemoryEtcd()
    first, second = Desk(etcd), Desk(etcd)
    await first.publisher.once()
    await second.publisher.once()
    assert not await first.publisher.once()

    assert await first.publisher.once()


async def test_who_publishes_no_more_is_missed_by_nobody() -> None:
    desk = Desk()
    await desk.publisher.once()

    await desk.publisher.withdraw()

    assert desk.etcd.kept == {}
    assert desk.etcd.is_closed


async def test_the_key_of_another_agent_of_that_name_is_not_withdrawn() -> None:
    etcd = MemoryEtcd()
    first, second = Desk(etcd), Desk(etcd)
    await first.publisher.once()
    await second.publisher.once()

    await first.publisher.withdraw()

    assert set(etcd.kept) == {KEY}


async def test_it_publishes_again_and_again_until_it_is_cancelled() -> None:
    settings = SETTINGS.model_copy(update={"every": 0.01})
    etcd = MemoryEtcd()
    publisher = Publisher(settings, store(), problem=lambda: "", etcd=etcd)
    running = asyncio.create_task(publisher.run())
    async with asyncio.timeout(5):
        while len(etcd.requests) < 3:
            await asyncio.sleep(0.01)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert etcd.is_closed


async def test_an_etcd_that_is_mute_ends_with_the_timeout() -> None:
    class Mute(MemoryEtcd):
        async def transaction(self, **_: Any) -> Transacted:
            await asyncio.sleep(60)
            raise AssertionError

    settings = SETTINGS.model_copy(update={"timeout": 0.05})
    publisher = Publisher(settings, store(), problem=lambda: "", etcd=Mute())

    assert not await publisher.once()
    assert publisher.reading().note == "etcd has not taken it within 0.05 s"


async def test_a_bug_in_publishing_does_not_end_the_agent() -> None:
    class Broken(MemoryEtcd):
        async def transaction(self, **_: Any) -> Transacted:
            raise KeyError("x")

    desk = Desk(Broken())

    assert not await desk.publisher.once()
    assert desk.told[1] == "bug in publishing: KeyError: 'x'"


async def test_what_cannot_be_withdrawn_holds_nobody_up() -> None:
    desk = Desk()
    desk.etcd.trouble = EtcdUnavailable({"http://a": NoProof("http://a: silent")})

    await desk.publisher.withdraw()

    assert desk.etcd.is_closed


async def test_a_withdrawal_that_has_no_answer_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Mute(MemoryEtcd):
        async def range(self, key: bytes, **_: Any) -> Found:
            raise TimeoutError

    await Desk(Mute()).publisher.withdraw()

    assert caplog.messages == ["the agent's status is still published, and will be taken for silence: no answer"]


@pytest.mark.parametrize(("key", "value"), [("every", "500ms"), ("every", "2d"), ("site", "x" * 65), ("sites", "fra")])
def test_settings_out_of_bounds_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        PublishSettings.model_validate({"etcd": {"endpoints": ["http://127.0.0.1:2379"]}, key: value})
