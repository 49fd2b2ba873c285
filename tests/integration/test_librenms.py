"""LibreNMS's discovery of the agent by our definition, and the files for its own tests: recorded and expected values."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator  # noqa: TC003 - pytest-asyncio looks at it
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hsm_agent.templates import write
from hsm_agent.templates.objects import dotted, oid_of
from hsm_agent.wire.snmp import mib
from tests.fakes.sample_configuration import ROOT
from tests.fakes.snmp_present import COMMUNITY, Clock, reading, responder, store
from tests.peers import librenms, netsnmp
from tests.peers.mibs import OURS, base_mibs
from tests.peers.netsnmp import NetSnmp
from tests.peers.pysnmp_manager import PysnmpManager
from tests.peers.snmpsim import Snmpsim, records_of

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.serve.snmp.responder import Responder
    from hsm_agent.store import Store
    from tests.peers.snmpsim import Record

# pysnmp uses names that pysmi, its own companion, calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pysnmp")

OS = "hsm-agent"
FOLDER = ROOT / "integrations" / "librenms"
DETECTION = yaml.safe_load((FOLDER / f"resources/definitions/os_detection/{OS}.yaml").read_text(encoding="utf-8"))
DISCOVERY = yaml.safe_load((FOLDER / f"resources/definitions/os_discovery/{OS}.yaml").read_text(encoding="utf-8"))
MODULES = DISCOVERY["modules"]
MIB_TEXT = (OURS / "HSM-AGENT-MIB.txt").read_text(encoding="utf-8")
RECORDED = FOLDER / "tests" / "snmpsim" / f"{OS}.snmprec"
EXPECTED = FOLDER / "tests" / "data" / f"{OS}.json"
VERSION = "0.1.0"
"""Of the recording, whatever ours is now."""
DESCRIPTION = f"hsm-agent {VERSION} on Linux 6.1.0 x86_64"
PRIVATE = "<private>"
"""What LibreNMS has in place of names and contacts in its own recordings."""
SYSTEM = {"1": DESCRIPTION, "4": PRIVATE, "5": PRIVATE, "6": PRIVATE}


def full_store() -> Store:
    """The known present, with a partition's storage and a label that is not ASCII besides."""
    present = store()
    present.update(
        [
            reading("token_storage_total_bytes", 2_097_152),
            reading("token_storage_used_bytes", 1_677_722),
            reading("token_storage_used_percent", 80.0),
            reading("token_objects", 812),
            reading("token_initialized", 1, source="soft", resource="付款"),
            reading("token_present", 1, source="soft", resource="付款"),
            reading("token_sessions_used_percent", 97.5, source="soft", resource="付款"),
        ]
    )
    return present


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Responder]:
    one = await responder(tmp_path, full_store(), Clock())
    await one.start()
    yield one
    await one.close()


def managers(port: int, community: str) -> tuple[NetSnmp, NetSnmp]:
    """One that discovers, with the MIB, and one that polls, without."""
    address, credentials = f"udp:127.0.0.1:{port}", netsnmp.v2c(community)
    mibs = f"{base_mibs().path}:{OURS}"
    return NetSnmp(address, credentials, mibs), NetSnmp(address, credentials)


async def recording(agent: Responder) -> list[Record]:
    """What a walk of the agent brings, without what differs from host to host."""
    async with PysnmpManager("127.0.0.1", agent.addresses[0][1]) as pysnmp:
        system = await pysnmp.walk_v2c(COMMUNITY, (1, 3, 6, 1, 2, 1, 1))
        ours = await pysnmp.walk_v2c(COMMUNITY, mib.BASE)
    for number, text in SYSTEM.items():
        system[f".1.3.6.1.2.1.1.{number}.0"] = ("OctetString", text.encode())
    ours[f".{oid_of(mib.BASE, 'hsmAgentVersion')}.0"] = ("OctetString", VERSION.encode())
    return records_of(system | ours)


async def discovered(port: int, community: str) -> dict[str, Any]:
    """What LibreNMS would write down of a device, in the form of its `tests/data`."""
    discovering, polling = managers(port, community)
    walks = await librenms.walk(discovering, MODULES)
    storages = await librenms.storage(discovering, OS, MODULES)
    sensors = librenms.sensors(OS, MODULES, walks)
    polled = await librenms.poll(polling, [sensor["sensor_oid"] for sensor in sensors])
    assert {
        sensor["sensor_oid"]: sensor["sensor_current"] * sensor["sensor_divisor"] for sensor in sensors
    } == pytest.approx({oid: int(value) for oid, value in polled.items()})
    device = {
        "sysName": PRIVATE,
        "sysObjectID": DETECTION["discovery"][0]["sysObjectID"][0],
        "sysDescr": DESCRIPTION,
        "sysContact": PRIVATE,
        "version": VERSION,
        "hardware": None,
        "features": None,
        "location": PRIVATE,
        "os": OS,
        "type": DETECTION["type"],
        "serial": None,
        "icon": "generic.svg",
    }
    same = "matches discovery"
    return {
        "os": {"discovery": {"devices": [device]}, "poller": same},
        "sensors": {
            "discovery": {"sensors": sensors, "state_indexes": librenms.state_indexes(MODULES, sensors)},
            "poller": same,
        },
        "storage": {"discovery": {"storage": storages}, "poller": same},
    }


def as_json(value: object) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False) + "\n"


async def test_the_recording_is_what_the_agent_answers(agent: Responder) -> None:
    records = await recording(agent)

    by_oid = sorted(records, key=lambda record: tuple(map(int, record[0].split("."))))
    assert "".join(f"{'|'.join(record)}\n" for record in by_oid) == RECORDED.read_text(encoding="utf-8")


async def test_the_agent_is_discovered_as_expected_and_polled_alike(agent: Responder) -> None:
    assert as_json(await discovered(agent.addresses[0][1], COMMUNITY)) == EXPECTED.read_text(encoding="utf-8")


async def test_the_recording_is_discovered_as_the_agent_is(tmp_path: Path) -> None:
    lines = RECORDED.read_text(encoding="utf-8").splitlines()
    records = [(oid, tag, value) for oid, tag, value in (line.split("|", 2) for line in lines)]
    async with Snmpsim(tmp_path, {OS: records}) as device:
        found = await discovered(device.port, OS)

    assert as_json(found) == EXPECTED.read_text(encoding="utf-8")


async def test_with_a_base_of_ones_own_the_same_is_discovered(tmp_path: Path) -> None:
    own = "1.3.6.1.4.1.32473.1"
    (tmp_path / "HSM-AGENT-MIB.txt").write_text(mib.rooted(MIB_TEXT, mib.parse_base(own)), encoding="utf-8")
    modules = yaml.safe_load(write("librenms", own)[f"resources/definitions/os_discovery/{OS}.yaml"])["modules"]
    agent = await responder(tmp_path, full_store(), Clock(), base_oid=own)
    await agent.start()
    address, mibs = f"udp:127.0.0.1:{agent.addresses[0][1]}", f"{base_mibs().path}:{tmp_path}"
    discovering = NetSnmp(address, netsnmp.v2c(COMMUNITY), mibs)
    found = librenms.sensors(OS, modules, await librenms.walk(discovering, modules))
    storages = await librenms.storage(discovering, OS, modules)
    values = {one["storage_used_oid"] or one["storage_free_oid"]: one for one in storages}
    polled = await librenms.poll(NetSnmp(address, netsnmp.v2c(COMMUNITY)), list(values))
    await agent.close()

    moved = json.loads(EXPECTED.read_text(encoding="utf-8").replace(f".{dotted(mib.BASE)}.", f".{own}."))
    assert found == moved["sensors"]["discovery"]["sensors"]
    assert storages == moved["storage"]["discovery"]["storage"]
    assert len(values) == 2
    assert polled == {
        oid: str(one["storage_used"] if one["storage_used_oid"] else one["storage_free"]) for oid, one in values.items()
    }


def test_the_expected_values_show_what_matters() -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    sensors = expected["sensors"]["discovery"]["sensors"]
    current = {
        sensor["sensor_descr"]: sensor["sensor_current"] for sensor in sensors if sensor["sensor_class"] == "percent"
    }

    assert current == {
        "audit payments of luna-a: fill": 50,
        "token payments of luna-a: private memory": 81.25,
        "token payments of luna-a: storage": 80,
        "token 付款 of soft: sessions": 97.5,
    }
    storages = expected["storage"]["discovery"]["storage"]
    assert [(each["storage_descr"], each["storage_perc"]) for each in storages] == [
        ("token payments of luna-a: private memory", 81),
        ("token payments of luna-a: storage", 80),
    ]
    assert not any("slot 9" in sensor["sensor_descr"] for sensor in sensors)
    assert {sensor["sensor_current"] for sensor in sensors if sensor["sensor_class"] == "runtime"} == {4294967295 / 60}


COMMON = {
    *("oid", "value", "num_oid", "descr", "index", "group", "low_limit", "low_warn_limit", "warn_limit", "high_limit"),
    *("skip_value_lt", "skip_value_gt", "skip_values", "user_func", "snmp_flags", "snmp_bulk", "snmp_no_Ih_flag"),
    *("entPhysicalIndex", "entPhysicalIndex_measured"),
}
OF_STATES = COMMON | {"states", "state_name"}
OF_SENSORS = COMMON | {"divisor", "multiplier", "rrd_type"}
OF_STORAGE = {
    *("oid", "descr", "index", "type", "units", "skip_values", "warn_percent", "poller_type"),
    *("size", "used", "free", "percent_used", "size_num_oid", "used_num_oid", "free_num_oid", "percent_used_num_oid"),
}
"""The fields that LibreNMS's schemas allow; more are refused there."""
NUMERIC = re.compile(r"(\.\d+)+\.\{\{ \$index \}\}")


def test_only_fields_that_librenms_knows_are_used() -> None:
    assert DISCOVERY.keys() == {"mib", "modules"}
    assert MODULES.keys() == {"os", "sensors", "storage"}
    assert DETECTION.keys() == {"os", "text", "type", "discovery"}
    for kind, definition in MODULES["sensors"].items():
        allowed = {"additional_oids": {"oid", "snmp_flags", "snmp_no_Ih_flag"}, "state": OF_STATES}.get(
            kind, OF_SENSORS
        )
        for entry in definition["data"]:
            assert entry.keys() <= allowed
            assert kind == "additional_oids" or NUMERIC.fullmatch(entry["num_oid"])
            assert all(state.keys() == {"value", "descr", "graph", "generic"} for state in entry.get("states", ()))
    for entry in MODULES["storage"]["data"]:
        assert entry.keys() <= OF_STORAGE
        assert all(NUMERIC.fullmatch(oid) for key, oid in entry.items() if key.endswith("num_oid"))


def test_no_state_is_named_like_an_object_whose_value_would_be_put_in_its_place() -> None:
    names = {column.name for table in mib.TABLES for column in table.columns} | {one.name for one in mib.SCALARS}

    assert [entry["state_name"] for entry in MODULES["sensors"]["state"]["data"] if entry["state_name"] in names] == []
