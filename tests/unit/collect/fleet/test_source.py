"""The source `kind: fleet`: a resource for each agent, and nothing that one wrote takes another along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.fleet.parse import METRICS
from hsm_agent.collect.fleet.reports import MOST_AGENTS
from hsm_agent.collect.fleet.source import FleetCollector, FleetSettings
from hsm_agent.net.etcd_messages import EtcdUnavailable, NoProof
from hsm_agent.wire.agent_report import PREFIX, encode
from tests.fakes.fleet import NOW, MemoryEtcd, report

if TYPE_CHECKING:
    from hsm_agent.collect.base import Poll

ETCD = {"endpoints": ["http://127.0.0.1:2379"]}


class Reader:
    """A source on an etcd in memory, with a clock of its own."""

    def __init__(self, *, etcd: MemoryEtcd | None = None, **settings: Any) -> None:
        self.etcd = etcd or MemoryEtcd()
        self.seconds = 0.0
        wanted = FleetSettings.model_validate({"name": "fleet", "kind": "fleet", "etcd": ETCD, **settings})
        self.source = FleetCollector(
            wanted, etcd=self.etcd, wall=lambda: NOW + self.seconds, monotonic=lambda: 5.0 + self.seconds
        )

    async def poll(self) -> Poll:
        return await self.source.poll()

    async def after(self, seconds: float) -> Poll:
        self.seconds += seconds
        return await self.poll()


def read(poll: Poll, metric: str) -> dict[str, tuple[float | None, str]]:
    """By agent the value, and the reason or the note, of a metric without labels."""
    return {each.resource: (each.value, each.reason or each.note) for each in poll.readings if each.metric == metric}


def counts(poll: Poll, agent: str) -> dict[str, float | None]:
    return {
        dict(each.labels)["severity"]: each.value
        for each in poll.readings
        if each.metric == "fleet_alarms" and each.resource == agent
    }


async def test_an_agent_that_publishes_is_a_resource() -> None:
    reader = Reader()
    reader.etcd.publish("monitor-1")

    poll = await reader.after(5)

    assert read(poll, "fleet_agent_up") == {"monitor-1": (1, "")}
    assert read(poll, "fleet_agent_silent_seconds") == {"monitor-1": (5.0, "")}
    assert read(poll, "fleet_sources_down") == {"monitor-1": (1, "luna-b")}
    assert counts(poll, "monitor-1") == {"critical": 1, "major": 0, "minor": 0, "warning": 2, "indeterminate": 0}
    (info,) = [each for each in poll.readings if each.metric == "fleet_agent_info"]
    assert dict(info.labels) == {"site": "fra", "version": "0.1.0", "started": "2026-09-21T13:13:20Z"}
    assert {each.metric for each in poll.readings} == set(METRICS)
    assert (poll.errors, poll.complete, poll.calls) == ((), True, {"range": 1})


async def test_the_worst_alarm_is_the_note_of_its_count() -> None:
    reader = Reader()
    reader.etcd.publish("monitor-1")

    poll = await reader.poll()

    (note,) = [each.note for each in poll.readings if dict(each.labels) == {"severity": "critical"}]
    assert note == "token-memory luna-a/payments: full"


async def test_of_a_silent_agent_nothing_is_known_but_that() -> None:
    reader = Reader()
    reader.etcd.publish("monitor-1")
    await reader.poll()

    poll = await reader.after(200)

    said = "silent for 3m 20s"
    assert read(poll, "fleet_agent_up") == {"monitor-1": (0, f"{said}, its last report says 2026-09-21T14:13:20Z")}
    assert set(counts(poll, "monitor-1").values()) == {None}
    assert read(poll, "fleet_sources_down") == {"monitor-1": (None, said)}


async def test_an_expected_agent_is_missed_though_it_was_never_seen() -> None:
    reader = Reader(agents=["monitor-1", "lab-*"])
    await reader.poll()

    poll = await reader.after(180)

    assert read(poll, "fleet_agent_up") == {"monitor-1": (0, "nothing is published under its name")}


async def test_an_etcd_that_lost_its_data_blames_no_expected_agent_before_it_could_publish_again() -> None:
    reader = Reader(agents=["slow", "usual"])
    reader.etcd.publish("slow", report(every_seconds=600.0))
    reader.etcd.publish("usual")
    await reader.poll()
    reader.etcd.kept.clear()

    for seconds in (0, 179):
        up = read(await reader.after(seconds), "fleet_agent_up")
        assert up == dict.fromkeys(
            ("slow", "usual"), (None, "nothing is published under its name, but it may not have had the time")
        )

    up = read(await reader.after(1), "fleet_agent_up")
    assert {name: value for name, (value, _) in up.items()} == {"slow": None, "usual": 0}
    assert read(await reader.after(1800), "fleet_agent_up")["slow"][0] == 0


async def test_an_expected_agent_has_its_time_anew_after_etcd_was_away() -> None:
    reader = Reader(agents=["monitor-1"])
    await reader.poll()
    reader.etcd.trouble = EtcdUnavailable({"http://a": NoProof("http://a: silent")})
    with pytest.raises(SourceFailure):
        await reader.after(600)
    reader.etcd.trouble = None

    assert read(await reader.after(1), "fleet_agent_up")["monitor-1"][0] is None
    assert read(await reader.after(180), "fleet_agent_up")["monitor-1"][0] == 0


async def test_other_agents_do_not_belong_to_it() -> None:
    reader = Reader(agents=["fra-*"])
    for name in ("fra-1", "ber-1"):
        reader.etcd.publish(name)

    assert set(read(await reader.poll(), "fleet_agent_up")) == {"fra-1"}


async def test_one_whose_key_is_deleted_is_gone_unless_it_is_expected() -> None:
    reader = Reader(agents=["*", "kept"])
    for name in ("kept", "other"):
        reader.etcd.publish(name)
    await reader.poll()
    reader.etcd.kept.clear()

    poll = await reader.after(60)

    assert poll.gone == ("other",)
    assert read(poll, "fleet_agent_up")["kept"][0] is None
    assert read(await reader.after(180), "fleet_agent_up") == {"kept": (0, "nothing is published under its name")}


async def test_one_that_an_operator_forgets_is_gone_until_it_publishes() -> None:
    reader = Reader()
    reader.etcd.publish("monitor-1")
    await reader.poll()
    assert not await reader.source.forget("monitor-1")
    await reader.after(200)

    assert await reader.source.forget("monitor-1")

    gone = await reader.after(60)
    assert (gone.gone, gone.readings) == (("monitor-1",), ())
    reader.etcd.publish("monitor-1", report(time=NOW + 300))
    assert read(await reader.after(60), "fleet_agent_up") == {"monitor-1": (1, "")}


async def test_without_etcd_nothing_is_known_and_nobody_is_taken_for_silent_afterwards() -> None:
    reader = Reader()
    reader.etcd.publish("monitor-1")
    await reader.poll()
    reader.etcd.trouble = EtcdUnavailable({"http://a": NoProof("http://a: silent")})
    reader.seconds += 600
    with pytest.raises(SourceFailure, match="nothing is known of the fleet"):
        await reader.poll()
    reader.etcd.trouble = None

    ((up, reason),) = read(await reader.poll(), "fleet_agent_up").values()

    assert up is None
    assert reason == "last published 10m ago, but etcd was not read all that time"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"\x00" * 100, id="no JSON"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"{" * 100_000, id="too long"),
        pytest.param(b"x" * 1_400_000, id="so long that a page does not hold it"),
        pytest.param(encode(report()).replace(b'"every":60.0', b'"every":-1'), id="a member that is none"),
    ],
)
async def test_what_is_no_report_takes_no_other_agent_along(value: bytes) -> None:
    reader = Reader(etcd=MemoryEtcd(most_answer=1_000_000))
    for number in range(150):
        reader.etcd.publish(f"monitor-{number:03}")
    reader.etcd.publish("monitor-077", value)

    poll = await reader.poll()

    up = read(poll, "fleet_agent_up")
    assert sum(value == 1 for value, _ in up.values()) == 149
    assert up["monitor-077"][0] is None
    assert up["monitor-077"][1]
    assert poll.errors == (f"agent monitor-077: {up['monitor-077'][1]}",)
    assert sum(poll.calls.values()) < 30


async def test_keys_that_name_no_agent_are_errors_and_nothing_else() -> None:
    reader = Reader()
    reader.etcd.publish("monitor-1")
    for name in (b"", b"\xff\xfe", b"a\x1b[2Jb", b"x" * 5000):
        reader.etcd.keep(PREFIX.encode() + name, encode(report()))

    poll = await reader.poll()

    assert set(read(poll, "fleet_agent_up")) == {"monitor-1"}
    assert len(poll.errors) == 4


async def test_a_flood_of_keys_hides_no_expected_agent_and_ends() -> None:
    reader = Reader(agents=["*", "zz-last"])
    for number in range(MOST_AGENTS + 500):
        reader.etcd.publish(f"a{number:05}")
    reader.etcd.publish("zz-last")

    poll = await reader.poll()

    assert read(poll, "fleet_agent_up")["zz-last"] == (1, "")
    assert len(read(poll, "fleet_agent_up")) == MOST_AGENTS + 1
    assert not poll.complete
    assert poll.errors == (f"more than {MOST_AGENTS} keys below {PREFIX}: of the others only expected agents are read",)


async def test_floods_of_ever_new_keys_are_not_all_remembered_and_who_is_not_read_is_unknown() -> None:
    reader = Reader()
    reader.etcd.publish("c-known")
    await reader.poll()
    for page in ("a", "b"):
        reader.etcd.kept.clear()
        for number in range(MOST_AGENTS + 1):
            reader.etcd.publish(f"{page}{number:05}")
        poll = await reader.after(60)
        assert len(read(poll, "fleet_agent_up")) == MOST_AGENTS


async def test_who_could_not_be_read_in_a_flood_is_unknown() -> None:
    reader = Reader()
    reader.etcd.publish("zz-last")
    await reader.poll()
    reader.etcd.keep(PREFIX.encode() + b"a" * 5000, b"")
    for number in range(MOST_AGENTS - 1):
        reader.etcd.keep(PREFIX.encode() + b"a\x1b%d" % number, b"")

    poll = await reader.after(60)

    assert read(poll, "fleet_agent_up")["zz-last"][0] is None


async def test_it_closes_its_client() -> None:
    reader = Reader()

    await reader.source.close()

    assert reader.etcd.is_closed


def test_what_it_would_watch_is_said() -> None:
    settings = FleetSettings.model_validate(
        {"name": "fleet", "kind": "fleet", "etcd": ETCD, "agents": ["fra-1", "ber-*"]}
    )

    assert list(settings.about()) == [
        "agents fra-1, ber-* by http://127.0.0.1:2379",
        "1 agent expected: missed also if never seen",
        "warning: etcd.endpoints: http:// is read and changed by whoever is on the way: write https:// and tls",
        "warning: etcd.user: without a user whoever reaches etcd can read and write all of it",
    ]
    assert set(settings.metrics_produced()) == set(METRICS)
