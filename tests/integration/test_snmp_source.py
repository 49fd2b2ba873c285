"""`kind: snmp` against snmpsim: what each profile reads."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator  # noqa: TC003 - pytest-asyncio looks at it
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.snmp.source import SnmpSettings
from hsm_agent.evaluate.defaults import DEFAULT_RULES
from tests.fakes import appliances
from tests.integration.snmp_source import WALKS, poll, reading, set_secrets, table, v2c
from tests.peers.snmpsim import Snmpsim
from tests.unit.evaluate.judging import Judge

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.snmpsim import Record


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    set_secrets(monkeypatch)


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Snmpsim]:
    async with Snmpsim(tmp_path / "snmpsim", WALKS, ipv6=True) as made:
        yield made


async def test_luna_partitions_and_hsm_are_read(peer: Snmpsim) -> None:
    found = await poll(v2c(peer.port, "luna"))

    assert found.errors == ()
    assert found.complete
    assert table(found) == {
        ("hsm-a", "hsm_storage_total_bytes"): 33554432,
        ("hsm-a", "hsm_storage_used_bytes"): 33554432,
        ("hsm-a", "hsm_storage_free_bytes"): 0,
        ("hsm-a", "hsm_storage_used_percent"): 100.0,
        ("hsm-a", "hsm_partitions_max"): 20,
        ("hsm-a", "hsm_partitions"): 2,
        ("hsm-a", "token_login_attempts_left", "role=so"): 3,
        ("hsm-a", "audit_role_initialized"): 1,
        ("hsm-a", "hsm_tampered"): 0,
        ("hsm-a", "hsm_uptime_seconds"): 864000,
        ("hsm-a", "hsm_commands_total"): 4711,
        ("hsm-a", "hsm_info", "authentication=PED keys", "fips=on", "model=Luna K7", "serial=535000"): 1,
        ("hsm-a", "hsm_firmware_info", "version=7.4.0"): 1,
        ("keys", "token_info", "label=keys", "serial=1238700701500"): 1,
        (appliances.SPARE, "token_info", f"serial={appliances.SPARE}"): 1,
        ("keys", "token_activated"): 1,
        ("keys", "token_storage_total_bytes"): 2000000,
        ("keys", "token_storage_used_bytes"): 1000000,
        ("keys", "token_storage_free_bytes"): 1000000,
        ("keys", "token_storage_used_percent"): 50.0,
        ("keys", "token_objects"): 120,
        (appliances.SPARE, "token_activated"): 0,
        (appliances.SPARE, "token_storage_total_bytes"): 2000000,
        (appliances.SPARE, "token_storage_used_bytes"): 1000000,
        (appliances.SPARE, "token_storage_free_bytes"): 1000000,
        (appliances.SPARE, "token_storage_used_percent"): 50.0,
        (appliances.SPARE, "token_objects"): 0,
    }


async def test_utilization_is_what_busy_and_up_time_grew_by_between_two_polls(peer: Snmpsim) -> None:
    async with reading(v2c(peer.port, "luna")) as collector:
        seen = []
        for walk in (
            appliances.luna(),
            appliances.luna(up=864100, busy=86430),
            appliances.luna(up=864100, busy=86430),
            appliances.luna(up=20, busy=1),
            appliances.luna(up=120, busy=51),
        ):
            peer.serve("luna", walk)
            seen.append(table(await collector.poll()).get(("hsm-a", "hsm_utilization_percent")))

    assert seen == [None, 30.0, 30.0, "its counters began anew", 50.0]


async def test_luna_legacy_is_read(peer: Snmpsim) -> None:
    found = table(await poll(v2c(peer.port, "luna-legacy")))

    expiry = found.pop(("ntls", "certificate_seconds_left"))
    assert isinstance(expiry, float)
    assert abs(expiry + time.time() - 1924991999) < 5
    assert found == {
        ("", "hsm_requests_total"): 3858380,
        ("", "hsm_request_errors_total"): 385838,
        ("", "hsm_critical_events_total"): 0,
        ("", "hsm_noncritical_events_total"): 5,
        ("", "ntls_up"): 1,
        ("", "ntls_clients"): 4,
        ("", "ntls_links"): 6,
        ("", "ntls_connections_total", "result=success"): 120,
        ("", "ntls_connections_total", "result=failure"): 2,
    }


async def test_utimaco_is_read(peer: Snmpsim) -> None:
    found = table(await poll(v2c(peer.port, "utimaco")))

    for resource in ("", "PCI:0"):
        offset = found.pop((resource, "hsm_clock_offset_seconds"))
        assert isinstance(offset, float)
        assert abs(offset + time.time() - 1767225600) < 5
    assert found == {
        ("", "hsm_battery_well"): 1,
        ("", "hsm_load_percent"): 12,
        ("", "hsm_clients"): 3,
        ("", "hsm_clients_used_percent"): 1,
        ("power supply", "sensor_well"): 1,
        ("cpu", "sensor_celsius"): 55,
        ("", "hsm_info", "serial=CSLAN77", "version=4.5.2"): 1,
        ("fan 1", "sensor_fan_rpm"): 5400,
        ("fan 2", "sensor_fan_rpm"): 5300,
        ("PCI:0", "hsm_operational"): 1,
        ("PCI:0", "sensor_celsius"): 41,
        ("PCI:0", "hsm_tampered"): 0,
        ("PCI:0", "hsm_battery_well"): 1,
        ("PCI:0", "sensor_well"): 1,
        ("PCI:0", "hsm_info", "bootloader=4.0.1.0", "serial=CS123456", "state=INITIALIZED"): 1,
    }


async def test_a_state_nobody_knows_and_a_malformed_date_are_unavailable_with_their_text(peer: Snmpsim) -> None:
    peer.serve("utimaco", appliances.utimaco(mode="REPAIR", battery="WEAK", clock="yesterday"))

    found = table(await poll(v2c(peer.port, "utimaco")))

    assert found["PCI:0", "hsm_operational"] == "the appliance says 'REPAIR', which is not a state that is known here"
    assert found["PCI:0", "hsm_battery_well"] == "the appliance says 'WEAK', which is not a state that is known here"
    assert (
        found["PCI:0", "hsm_clock_offset_seconds"]
        == "the appliance says 'yesterday', which is not a date that is known here"
    )


async def test_nshield_is_read(peer: Snmpsim) -> None:
    assert table(await poll(v2c(peer.port, "nshield"))) == {
        ("any module", "hsm_operational"): 1,
        ("hardserver", "hsm_operational"): 1,
        ("", "hsm_modules"): 2,
        ("", "hsm_requests_total"): 1000,
        ("", "hsm_request_errors_total", "in=command"): 7,
        ("", "hsm_request_errors_total", "in=reply"): 9,
        ("module 1", "hsm_operational"): 1,
        ("module 1", "sensor_well"): 1,
        ("module 2", "hsm_operational"): "the appliance says '8', which is not a state that is known here",
        ("module 2", "sensor_well"): "the appliance says '5', which is not a state that is known here",
    }


async def test_primekey_is_read(peer: Snmpsim) -> None:
    assert table(await poll(v2c(peer.port, "primekey"))) == {
        ("", "hsm_operational"): 1,
        ("carrier battery", "sensor_volts"): 3.1,
        ("carrier battery", "hsm_battery_well"): 1,
        ("", "hsm_audit_log_size"): 17,
        ("cpu", "sensor_celsius"): 48.5,
        ("cpu fan", "sensor_fan_rpm"): 1200,
        ("system fan 1", "sensor_fan_rpm"): 4100,
        ("system fan 2", "sensor_fan_rpm"): 4000,
        ("system fan 3", "sensor_fan_rpm"): 4050,
        ("cpu fan", "sensor_well"): 1,
        ("system fans", "sensor_well"): 0,
        ("database", "host_disk_used_percent"): 23,
        ("", "host_load"): 0.42,
        ("raid", "sensor_well"): 1,
        ("virtual machines", "sensor_well"): 1,
    }


async def test_a_host_is_read(peer: Snmpsim) -> None:
    assert table(await poll(v2c(peer.port, "net-snmp-host"))) == {
        ("", "host_uptime_seconds"): 3600.0,
        ("", "host_load"): 0.42,
        ("", "host_memory_used_percent"): 50.0,
        ("cpu 196608", "host_cpu_used_percent"): 7,
        ("cpu 196609", "host_cpu_used_percent"): 93,
        ("/", "host_disk_used_percent"): 25.0,
        ("/var", "host_disk_used_percent"): 95.0,
        ("lo", "host_network_received_bytes_total"): 10**12,
        ("lo", "host_network_sent_bytes_total"): 1,
        ("eth0", "host_network_received_bytes_total"): 2 * 10**12,
        ("eth0", "host_network_sent_bytes_total"): 2,
        ("eth0", "host_link_up"): 1,
        ("CPU", "sensor_celsius"): 47.5,
        ("Inlet", "sensor_celsius"): -2.5,
        ("Fan1A", "sensor_fan_rpm"): 6200,
        ("+5V", "sensor_volts"): 5.04,
    }


async def test_what_is_gone_is_unavailable_until_it_is_forgotten(peer: Snmpsim) -> None:
    async with reading(v2c(peer.port, "net-snmp-host")) as collector:
        await collector.poll()
        peer.serve("net-snmp-host", appliances.net_snmp_host(disks=[("/", 1000, 250)]))
        missed = table(await collector.poll())
        forgotten = [await collector.forget("/var"), await collector.forget("/var")]
        after = table(await collector.poll())

    assert "not report" in str(missed["/var", "host_disk_used_percent"])
    assert forgotten == [True, False]
    assert ("/var", "host_disk_used_percent") not in after


async def test_a_restart_misses_what_was_there_before_it_until_it_is_forgotten(peer: Snmpsim, tmp_path: Path) -> None:
    context = CollectorContext(state_directory=tmp_path)
    seen, complete = [], []
    for disks in ([("/", 1000, 250), ("/var", 1000, 990)], [("/", 1000, 250)], [("/", 1000, 250)]):
        peer.serve("net-snmp-host", appliances.net_snmp_host(disks=disks))
        async with reading(v2c(peer.port, "net-snmp-host"), context=context) as collector:
            found = await collector.poll()
            seen.append(table(found).get(("/var", "host_disk_used_percent")))
            complete.append(found.complete)
            if len(seen) > 1:
                assert await collector.forget("/var") is (len(seen) == 2)

    assert [seen[0], seen[2]] == [99.0, None]
    assert "not report" in str(seen[1])
    assert all(complete)


async def test_several_profiles_are_read_of_one_source(tmp_path: Path) -> None:
    both: list[Record] = [*appliances.luna(), *appliances.net_snmp_host()]
    async with Snmpsim(tmp_path / "snmpsim", {"luna": both}) as peer:
        found = await poll(v2c(peer.port, "luna", profile=["luna", "net-snmp-host", "nshield"]))

    assert ("keys", "token_objects") in table(found)
    assert ("CPU", "sensor_celsius") in table(found)
    assert len(found.errors) == 1
    assert found.errors[0].startswith("nothing of profile 'nshield' is there: check that the appliance is of that kind")


async def test_an_operators_own_objects_are_read(peer: Snmpsim) -> None:
    custom = {
        "values": [
            {"oid": "1.3.6.1.4.1.3159.1.1.5.0", "metric": "custom_load_percent", "unit": "percent"},
            {"oid": "1.3.6.1.4.1.3159.1.1.10.0", "metric": "sensor_celsius", "resource": "cpu", "limit": "most"},
            {"oid": "1.3.6.1.4.1.3159.1.1.7.0", "name": "most", "scale": 80},
        ],
        "tables": [
            {
                "oid": "1.3.6.1.4.1.3159.1.1.8.1",
                "prefix": "ventilator ",
                "values": [{"oid": 2, "metric": "custom_fan_rounds", "scale": 0.5}],
            }
        ],
    }

    found = await poll(v2c(peer.port, "utimaco", profile=[], custom=custom))

    assert table(found) == {
        ("", "custom_load_percent"): 12,
        ("cpu", "sensor_celsius"): 55,
        ("ventilator 1", "custom_fan_rounds"): 2700.0,
        ("ventilator 2", "custom_fan_rounds"): 2650.0,
    }
    assert [each.limit for each in found.readings if each.metric == "sensor_celsius"] == [80.0]


async def test_what_was_read_can_be_recorded_without_names(peer: Snmpsim) -> None:
    found = await poll(v2c(peer.port, "luna"))

    text = json.dumps(SnmpSettings.mask(found.raw))

    assert all(word not in text for word in (appliances.SERIAL, appliances.PARTITION, '"keys"', "hsm-a"))
    assert "33554432" in text
    assert SnmpSettings.mask(None) is None


async def test_a_volume_above_eight_terabytes_is_read_though_its_size_is_negative(peer: Snmpsim) -> None:
    big, full = ("/big", -(2**31), 2**30), ("/full", -1000, -1000)
    peer.serve("net-snmp-host", appliances.net_snmp_host(disks=(big, full, ("/odd", 100, -100), ("/none", 0, 0))))

    shown = table(await poll(v2c(peer.port, "net-snmp-host")))

    assert shown["/big", "host_disk_used_percent"] == 50.0
    assert shown["/full", "host_disk_used_percent"] == 100.0
    assert shown["/odd", "host_disk_used_percent"] == "the values contradict each other: 4294967196 of 100 in use"
    assert shown["/none", "host_disk_used_percent"] == "the size is 0"


async def test_a_link_is_down_only_while_it_is_wanted_up(peer: Snmpsim) -> None:
    links = (("lo", 24, 1, 2), ("eth0", 6, 1, 1), ("eth1", 6, 1, 2), ("eth2", 6, 2, 2), ("bond0", 161, 1, 7))
    peer.serve("net-snmp-host", appliances.net_snmp_host(links=links))

    shown = table(await poll(v2c(peer.port, "net-snmp-host")))

    assert {key[0]: value for key, value in shown.items() if key[1] == "host_link_up"} == {
        "eth0": 1,
        "eth1": 0,
        "eth2": 1,
        "bond0": 0,
    }


async def test_an_appliance_whose_logs_fill_and_whose_link_fails_is_judged(peer: Snmpsim) -> None:
    disks, links = (("/", 1000, 250), ("/var/log", 1000, 990)), (("lo", 24, 1, 1), ("eth0", 6, 1, 1), ("eth1", 6, 1, 2))
    peer.serve("net-snmp-host", appliances.net_snmp_host(disks=disks, links=links))
    found = await poll(v2c(peer.port, "net-snmp-host"))

    judge, raised = Judge(*DEFAULT_RULES), set()
    for minute in range(20):
        for one in found.readings:
            told = judge.read(
                minute * 60.0, one.value, one.metric, source="luna-appliance", resource=one.resource, labels=one.labels
            )
            raised |= {(event.rule, one.resource, event.severity.value) for event in told}

    assert raised == {
        ("appliance-disk", "/var/log", "critical"),
        ("appliance-link", "eth1", "warning"),
        ("appliance-cpu", "cpu 196609", "warning"),
    }
