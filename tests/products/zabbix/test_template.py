"""The template in a real Zabbix 6.0 with our agent: what is discovered, and which problems open and close."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.templates.zabbix import FILE, write
from hsm_agent.templates.zabbix.export import TEMPLATE
from tests.peers.agent import COMMUNITY
from tests.products.zabbix.lab import HOSTS, JUDGE, NAMES, SECRET, STRONG, V2C, V3, Host, Lab, lab
from tests.products.zabbix.server import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.products.zabbix.server import Zabbix

pytestmark = pytest.mark.timeout(300)

BASE = "1.3.6.1.4.1.8072.9999.9999.4801"
MOVED = "1.3.6.1.4.1.32473.1"
_CREATED = ("templates", "items", "triggers", "graphs", "discoveryRules", "valueMaps")
LABEL, QUOTED, _ = NAMES


def import_template(zabbix: Zabbix, base_oid: str) -> None:
    rules: dict[str, Any] = {kind: {"createMissing": True, "updateExisting": True} for kind in _CREATED}
    rules["groups"] = {"createMissing": True}
    zabbix.api("configuration.import", {"format": "yaml", "rules": rules, "source": write(base_oid)[FILE]})


@pytest.fixture(scope="module")
def zabbix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zabbix]:
    directory = tmp_path_factory.mktemp("zabbix")
    for folder in (directory, *directory.parents[:2]):
        folder.chmod(0o755)
    lines = (
        f"authCommunity log,execute {COMMUNITY}",
        f'createUser nms SHA-256 "{SECRET}" AES "{SECRET}"',
        "authUser log,execute nms priv",
    )
    with running(directory, lines) as server:
        import_template(server, BASE)
        yield server


def unsupported(one: Lab, host: Host) -> list[tuple[str, str]]:
    rules = one.zabbix.api("discoveryrule.get", {"hostids": one.ids[host.name], "output": ["key_", "state", "error"]})
    return [
        (each["key_"], each["error"]) for each in (*one.items(host), *rules) if each["state"] != "0" or each["error"]
    ]


def test_a_second_import_updates_what_the_first_one_made(zabbix: Zabbix) -> None:
    def objects() -> list[str]:
        query = {"filter": {"host": TEMPLATE}, "selectItems": "extend", "selectDiscoveries": "extend"}
        (found,) = zabbix.api("template.get", query)
        return [one["key_"] for one in (*found["items"], *found["discoveries"])]

    before = objects()

    import_template(zabbix, BASE)

    assert objects() == before
    assert len(before) > 15


async def test_every_item_is_supported_whichever_way_the_agent_is_asked(tmp_path: Path, zabbix: Zabbix) -> None:
    async with lab(tmp_path, zabbix, TEMPLATE, *HOSTS, base_oid=BASE) as one:
        seconds = await one.discovered(*HOSTS)
        for host in HOSTS:
            await one.asked_at_once(host)

        def serial_numbers() -> list[str]:
            return [each["lastvalue"] for each in one.items(V3) if each["key_"].startswith("hsm.token.serial[")]

        await one.until(lambda: all(serial_numbers()))
        await asyncio.sleep(10)

        for host in HOSTS:
            items = one.items(host)
            print(f"{host.name}: {len(items)} items, discovered after {seconds:.0f} s")
            assert unsupported(one, host) == []
            assert len(items) > 90
            names = [each["name"] for each in items]
            assert [name for name in names if "{#" in name] == []
            for label in NAMES:
                assert f"Token luna/{label}: private memory used" in names
            assert not [name for name in names if name.startswith("Token luna/slot ")]
            assert int(zabbix.api("graph.get", {"hostids": one.ids[host.name], "countOutput": True})) > 15
            used = [each for each in items if each["key_"].startswith("hsm.token.memory.used[")]
            assert {float(each["lastvalue"]) for each in used} == {10.0}


async def test_notifications_open_change_and_close_a_problem(tmp_path: Path, zabbix: Zabbix) -> None:
    async with lab(tmp_path, zabbix, TEMPLATE, V2C, V3, base_oid=BASE) as one:
        await asyncio.sleep(5)  # Zabbix reads its configuration once a second

        for host in (V2C, V3):
            assert one.problems(host) == []
        one.hsm.set_memory(free=200_000, token=LABEL)
        alarm = ""
        for host in (V2C, V3):
            warning, seconds = await one.problem(host, level="warning")
            print(f"{host.name}: warning after {seconds:.1f} s: {warning['name']}")
            assert (warning["tags"]["resource"], warning["tags"]["rule"]) == (LABEL, "token-memory")
            assert LABEL in warning["name"]
            alarm = warning["tags"]["alarmid"]
        one.hsm.set_memory(free=50_000, token=QUOTED)
        one.hsm.set_memory(free=50_000, token=LABEL)
        for host in (V2C, V3):
            await one.problem(host, level="critical", alarmid=alarm)
            await one.problem(host, level="critical", resource=QUOTED)
            await one.levels(host, "critical", "critical")
        one.hsm.set_memory(free=200_000, token=LABEL)
        for host in (V2C, V3):
            await one.problem(host, level="warning", alarmid=alarm)
            await one.levels(host, "critical", "warning")
        one.hsm.set_memory(free=900_000, token=LABEL)
        for host in (V2C, V3):
            seconds = await one.gone(host, alarmid=alarm)
            print(f"{host.name}: closed after {seconds:.1f} s")
            assert [each["tags"]["resource"] for each in one.problems(host)] == [QUOTED]
        one.hsm.set_memory(free=900_000, token=QUOTED)
        for host in (V2C, V3):
            await one.gone(host)


async def test_polled_items_open_and_close_a_problem(tmp_path: Path, zabbix: Zabbix) -> None:
    async with lab(tmp_path, zabbix, TEMPLATE, STRONG, JUDGE, base_oid=BASE) as one:
        await one.discovered(STRONG, JUDGE)
        await one.until(lambda: all(not one.problems(host) for host in (STRONG, JUDGE)))

        one.hsm.set_memory(free=200_000, token=LABEL)
        warning, seconds = await one.problem(STRONG, level="warning")
        print(f"active alarm: warning after {seconds:.1f} s: {warning['name']}")
        assert (warning["tags"]["resource"], warning["tags"]["rule"]) == (LABEL, "token-memory")
        (alarm,) = (await one.agent.status())["alarms"]
        assert warning["tags"]["alarmid"] == alarm["alarm_id"]
        assert alarm["text"] in warning["name"]
        judged, _ = await one.problem(JUDGE)
        print(f"threshold: {judged['name']}")
        assert judged["name"] == f"Token luna/{LABEL}: private memory used (warning)"

        silence = ("--rule", "token-memory", "--for", "1h", "--reason", "maintenance", "--config", str(one.agent.file))
        assert (await one.agent.run("silence", *silence))[0] == 0
        await one.gone(STRONG)
        (silenced,) = (await one.agent.status())["silences"]
        assert (await one.agent.run("silence", "end", silenced["id"], "--config", str(one.agent.file)))[0] == 0
        await one.problem(STRONG, level="warning", alarmid=alarm["alarm_id"])

        one.hsm.set_memory(free=50_000, token=LABEL)
        await one.levels(STRONG, "critical")
        await one.until(lambda: any("(critical)" in each["name"] for each in one.problems(JUDGE)))
        one.hsm.set_memory(free=270_000, token=LABEL)  # 73 %: below 75, but not by the hysteresis of 5
        await one.until(lambda: not any("(critical)" in each["name"] for each in one.problems(JUDGE)))
        await asyncio.sleep(5)
        assert [each["name"] for each in one.problems(JUDGE)] == [judged["name"]]

        one.hsm.set_memory(free=900_000, token=LABEL)
        _, seconds = await one.until(lambda: not one.problems(STRONG) and not one.problems(JUDGE))
        print(f"polled: closed after {seconds:.1f} s")


async def test_a_restart_of_the_agent_closes_nothing_and_leaves_every_item_supported(
    tmp_path: Path, zabbix: Zabbix
) -> None:
    async with lab(tmp_path, zabbix, TEMPLATE, V3, STRONG, base_oid=BASE) as one:
        await one.discovered(V3, STRONG)
        one.hsm.set_memory(free=50_000, token=LABEL)
        before = {host: (await one.problem(host, level="critical"))[0]["eventid"] for host in (V3, STRONG)}
        assert not any(map(one.was_restarted, (V3, STRONG)))  # though it is young

        for number in (signal.SIGTERM, signal.SIGKILL):
            await one.agent.stop(number)
            await one.agent.start()
            await one.until(lambda: all(map(one.was_restarted, (V3, STRONG))))
            await asyncio.sleep(8)

            for host in (V3, STRONG):
                assert unsupported(one, host) == []
                assert [each["eventid"] for each in one.problems(host)] == [before[host]]
                fresh = [each for each in one.items(host) if each["key_"].startswith("hsm.token.memory.used[")]
                assert any(float(each["lastvalue"]) == 95.0 for each in fresh)
        one.hsm.set_memory(free=900_000, token=LABEL)
        await one.gone(V3)
        await one.gone(STRONG)


async def test_with_the_correlation_an_alarm_that_is_told_again_is_one_problem(tmp_path: Path, zabbix: Zabbix) -> None:
    conditions = [{"type": 3, "oldtag": tag, "newtag": tag} for tag in ("alarmid", "level")]
    made = zabbix.api("correlation.create", {
        "name": "one problem for each alarm and level",
        "filter": {"evaltype": 1, "conditions": conditions},
        "operations": [{"type": 1}],
    })  # fmt: skip
    both = Host(V2C.name, V2C.address, None, "TRAPS")
    async with lab(tmp_path, zabbix, TEMPLATE, both, base_oid=BASE) as one:
        macros = [{"macro": "{$HSM.TELL.ALARMS}", "value": "1"}, {"macro": "{$HSM.TELL.TRAPS}", "value": "1"}]
        quick = [
            {"macro": name, "value": "2s"} for name in ("{$HSM.POLL}", "{$HSM.DISCOVERY}", "{$HSM.ALARM.DISCOVERY}")
        ]
        zabbix.api("host.update", {"hostid": one.ids[both.name], "macros": macros + quick})
        await one.discovered(both)
        one.hsm.set_memory(free=200_000, token=LABEL)
        await one.problem(both)
        await one.agent.run("resend", "--sink", "trap", "--config", str(one.agent.file))
        await one.agent.run("resend", "--sink", "trap", "--config", str(one.agent.file))
        await asyncio.sleep(15)

        (only,) = one.problems(both)
        one.hsm.set_memory(free=50_000, token=LABEL)
        await one.levels(both, "critical")
        await asyncio.sleep(10)
        assert [each["tags"]["level"] for each in one.problems(both)] == ["critical"]
        assert one.problems(both)[0]["tags"]["alarmid"] == only["tags"]["alarmid"]
        one.hsm.set_memory(free=900_000, token=LABEL)
        await one.gone(both)
    zabbix.api("correlation.delete", made["correlationids"])


async def test_a_base_of_the_sites_own_needs_only_its_template(tmp_path: Path, zabbix: Zabbix) -> None:
    import_template(zabbix, MOVED)
    try:
        async with lab(tmp_path, zabbix, TEMPLATE, V2C, base_oid=MOVED) as one:
            await one.discovered(V2C)
            assert unsupported(one, V2C) == []
            one.hsm.set_memory(free=50_000, token=LABEL)
            problem, _ = await one.problem(V2C, level="critical")
            assert problem["tags"]["resource"] == LABEL
            one.hsm.set_memory(free=900_000, token=LABEL)
            await one.gone(V2C)
    finally:
        import_template(zabbix, BASE)
