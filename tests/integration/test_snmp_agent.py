"""The responder against independent managers: net-snmp's tools and pysnmp, alone, through snmpd, beside snmpsim."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator  # noqa: TC003 - pytest-asyncio looks at it
from typing import TYPE_CHECKING

import pytest

from hsm_agent.cli.main import mib_text
from hsm_agent.serve.snmp.responder import Responder
from hsm_agent.state.snmp_engine import start_engine
from hsm_agent.version import VERSION
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.mib import BASE
from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol
from tests.fakes.snmp_present import (
    AUTH_SECRET,
    COMMUNITY,
    PRIVACY_SECRET,
    Clock,
    load_settings,
    responder,
    secret_file,
    store,
)
from tests.peers import netsnmp
from tests.peers.mibs import OURS, base_mibs
from tests.peers.netsnmp import NetSnmp
from tests.peers.pysnmp_manager import PysnmpManager
from tests.peers.snmpd import Snmpd, proxy_lines
from tests.peers.snmpsim import Snmpsim, records_of

if TYPE_CHECKING:
    from pathlib import Path

# pysnmp uses names that pysmi, its own companion, calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pysnmp")

GOLDEN = OURS.parent / "tests" / "contract" / "golden"
ROOT = "." + ".".join(map(str, BASE))
SYS_NAME = "1.3.6.1.2.1.1.5.0"
NMS = netsnmp.v3("nms", "SHA-256", AUTH_SECRET, "AES-128", PRIVACY_SECRET)
COMBINATIONS = [(auth, privacy) for auth in AuthProtocol for privacy in (None, *PrivacyProtocol)]


def user_name(auth: AuthProtocol, privacy: PrivacyProtocol | None) -> str:
    return f"{auth.value} {privacy.value if privacy else 'alone'}".replace(" ", "+")


def every_user(directory: Path) -> list[dict[str, object]]:
    auth_secret = secret_file(directory, "auth", AUTH_SECRET)
    privacy_secret = secret_file(directory, "privacy", PRIVACY_SECRET)
    return [
        {
            "name": user_name(auth, privacy),
            "auth": {"protocol": auth.value, "secret": auth_secret},
            "privacy": {"protocol": privacy.value, "secret": privacy_secret} if privacy else None,
        }
        for auth, privacy in COMBINATIONS
    ]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Responder]:
    one = await responder(tmp_path, store(), Clock())
    await one.start()
    yield one
    await one.close()


def ask(agent: Responder, credentials: tuple[str, ...], mibs: str = "") -> NetSnmp:
    return NetSnmp(f"udp:127.0.0.1:{agent.addresses[0][1]}", credentials, mibs)


def _steady(walked: str) -> str:
    """A walk without what differs from host to host."""
    walked = re.sub(r"hsm-agent \S+ on .*", "hsm-agent VERSION on HOST", walked)
    return walked.replace(f"hsmAgentVersion.0 = STRING: {VERSION}\n", "hsmAgentVersion.0 = STRING: VERSION\n")


def _write_mib(folder: Path, base: str) -> None:
    folder.mkdir()
    (folder / "HSM-AGENT-MIB.txt").write_text(mib_text(base), encoding="utf-8")


async def test_a_walk_by_name_is_the_golden_walk(agent: Responder) -> None:
    mibs = f"{base_mibs().path}:{OURS}"

    said = await ask(agent, netsnmp.v2c(COMMUNITY), mibs).run("snmpbulkwalk", "-Cr25", "1.3")

    assert said.err == ""
    assert _steady(said.out) == (GOLDEN / "walk.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("base", ["1.3.6.1.4.1.32473", "1.3.6.1.4.1.32473.4801.1"])
async def test_a_base_of_ones_own_moves_everything(tmp_path: Path, base: str) -> None:
    """By name, with the text that `mib --base` prints, the walk is the same; and nothing is left where it was."""
    await asyncio.to_thread(_write_mib, tmp_path / "mibs", base)
    one = await responder(tmp_path, store(), Clock(), base_oid=base)
    await one.start()
    by_name = await ask(one, netsnmp.v2c(COMMUNITY), f"{base_mibs().path}:{tmp_path / 'mibs'}").run(
        "snmpbulkwalk", "-Cr25", "1.3"
    )
    by_number = await ask(one, netsnmp.v2c(COMMUNITY)).walk(".1.3")
    await one.close()

    assert _steady(by_name.out) == (GOLDEN / "walk.txt").read_text(encoding="utf-8")
    assert not [name for name in by_number if name.startswith(ROOT)]
    assert by_number[".1.3.6.1.2.1.1.2.0"] == f"OID: .{base}.3.1"


async def test_tables_are_readable(agent: Responder) -> None:
    mibs = f"{base_mibs().path}:{OURS}"

    said = await ask(agent, NMS, mibs).run("snmptable", "-Cb", "-Ci", "HSM-AGENT-MIB::hsmSourceTable")

    assert said.code == 0
    assert "degraded" in said.out


async def test_net_snmp_and_pysnmp_agree_on_every_user(tmp_path: Path) -> None:
    one = await responder(tmp_path, store(), Clock(), users=await asyncio.to_thread(every_user, tmp_path))
    await one.start()
    expected = await ask(one, netsnmp.v2c(COMMUNITY)).walk(ROOT, tool="snmpwalk")
    assert len(expected) > 200

    async with PysnmpManager("127.0.0.1", one.addresses[0][1]) as pysnmp:
        assert (await pysnmp.walk_v2c(COMMUNITY, BASE)).keys() == expected.keys()
        reference = await pysnmp.walk_v2c(COMMUNITY, BASE)
        for auth, privacy in COMBINATIONS:
            name = user_name(auth, privacy)
            credentials = netsnmp.v3(name, auth.value, AUTH_SECRET, privacy and privacy.value, PRIVACY_SECRET)
            assert await ask(one, credentials).walk(ROOT) == expected, name
            assert await pysnmp.walk_v3(name, auth, AUTH_SECRET, privacy, PRIVACY_SECRET, BASE) == reference, name
    await one.close()


async def test_ipv6_is_answered(tmp_path: Path) -> None:
    one = await responder(tmp_path, store(), Clock(), listen=["udp:127.0.0.1:0", "udp6:[::1]:0"])
    await one.start()

    said = await NetSnmp(f"udp6:[::1]:{one.addresses[1][1]}", NMS).get(SYS_NAME)
    await one.close()

    assert said.out == '.1.3.6.1.2.1.1.5.0 = STRING: "hsm-monitor-1"\n'


@pytest.mark.parametrize(
    ("credentials", "words", "counted"),
    [
        pytest.param(
            netsnmp.v3("nobody", "SHA-256", AUTH_SECRET),
            "Unknown user name",
            Count.UNKNOWN_USER_NAMES,
            id="unknown user",
        ),
        pytest.param(
            netsnmp.v3("nms", "SHA-256", "a wrong one", "AES-128", PRIVACY_SECRET),
            "Authentication failure (incorrect password, community or key)",
            Count.WRONG_DIGESTS,
            id="wrong pass-phrase",
        ),
        pytest.param(
            netsnmp.v3("nms", "SHA-256", AUTH_SECRET),
            "Unsupported security level",
            Count.UNSUPPORTED_SEC_LEVELS,
            id="no privacy where it is due",
        ),
        pytest.param(
            netsnmp.v3("nms", "SHA-256", AUTH_SECRET, "AES-128", "a wrong one"),
            "Decryption error",
            Count.DECRYPTION_ERRORS,
            id="wrong privacy pass-phrase",
        ),
        pytest.param((*NMS, "-n", "elsewhere"), "Bad context specified", Count.UNKNOWN_CONTEXTS, id="unknown context"),
    ],
)
async def test_a_refusal_is_reported_and_counted(
    agent: Responder, credentials: tuple[str, ...], words: str, counted: Count
) -> None:
    said = await ask(agent, credentials).get(SYS_NAME)

    assert said.code != 0
    assert words.casefold() in (said.out + said.err).casefold()
    counter = ".".join(map(str, counted.oid))
    assert (await ask(agent, NMS).get(counter)).out == f".{counter} = Counter32: {agent.counters[counted]}\n"
    assert agent.counters[counted] >= 1


async def test_discovery_takes_one_report_and_the_time_window_none(agent: Responder) -> None:
    said = await ask(agent, NMS).get(SYS_NAME)

    assert said.code == 0
    assert agent.counters[Count.UNKNOWN_ENGINE_IDS] == 1
    assert agent.counters[Count.NOT_IN_TIME_WINDOWS] == 0


async def test_a_manager_whose_clock_is_old_is_told_the_time(agent: Responder) -> None:
    stale = (*NMS, "-Z", "7,1")

    said = await ask(agent, (*stale, "-e", "0x80001f8805000102030405060708090a0b")).get(SYS_NAME)

    assert said.code == 0, said
    assert agent.counters[Count.NOT_IN_TIME_WINDOWS] == 1


async def test_set_is_refused(agent: Responder) -> None:
    said = await ask(agent, NMS).run("snmpset", SYS_NAME, "s", "mine")

    assert said.code != 0
    assert "notWritable" in said.err


async def test_version_1_walks_what_it_can_know(tmp_path: Path) -> None:
    one = await responder(tmp_path, store(), Clock(), v1=True)
    await one.start()
    expected = await ask(one, netsnmp.v2c(COMMUNITY)).walk(ROOT)

    walked = await ask(one, ("-v1", "-c", COMMUNITY)).walk(ROOT, tool="snmpwalk")
    await one.close()

    assert walked == {name: value for name, value in expected.items() if not value.startswith("Counter64")}


async def test_a_narrow_view_holds_the_system_group_and_its_token(agent: Responder) -> None:
    narrow = netsnmp.v3("payments", "SHA-256", AUTH_SECRET, "AES-128", PRIVACY_SECRET)

    walked = await ask(agent, narrow).walk(".1.3")

    groups = {name.removeprefix(ROOT).split(".")[2] if name.startswith(ROOT) else name[:14] for name in walked}
    assert groups == {".1.3.6.1.2.1.1", "3", "4", "5", "6"}
    assert not any("backup" in value for value in walked.values())


async def test_snmpd_hands_our_subtree_through(agent: Responder, tmp_path: Path) -> None:
    ours = ask(agent, netsnmp.v2c(COMMUNITY))
    front = tmp_path / "snmpd"
    lines = [
        *proxy_lines(f"127.0.0.1:{agent.addresses[0][1]}", COMMUNITY, ROOT),
        "view hsm included .1.3.6.1.2.1.1",
        "rocommunity front 127.0.0.1 -V hsm",
    ]
    await asyncio.to_thread(front.mkdir)
    async with Snmpd(front, lines) as snmpd:
        through = NetSnmp(snmpd.address, netsnmp.v2c("front"))

        assert await through.walk(ROOT) == await ours.walk(ROOT)
        assert (await through.get(f"{ROOT}.1.3.1.3.1")).out == f'{ROOT}.1.3.1.3.1 = STRING: "payments"\n'
        assert "No Such Instance" in (await through.get(f"{ROOT}.1.3.1.3.9")).out


async def test_pysnmp_reads_the_same_of_snmpsim_and_of_us(agent: Responder, tmp_path: Path) -> None:
    async with PysnmpManager("127.0.0.1", agent.addresses[0][1]) as pysnmp:
        ours = await pysnmp.walk_v3(
            "nms", AuthProtocol.SHA256, AUTH_SECRET, PrivacyProtocol.AES128, PRIVACY_SECRET, BASE
        )
    async with (
        Snmpsim(
            tmp_path / "snmpsim",
            {"public": records_of(ours)},
            auth_secret=AUTH_SECRET,
            privacy_secret=PRIVACY_SECRET,
        ) as peer,
        PysnmpManager("127.0.0.1", peer.port) as pysnmp,
    ):
        theirs = await pysnmp.walk_v3(
            "nms", AuthProtocol.SHA256, AUTH_SECRET, PrivacyProtocol.AES128, PRIVACY_SECRET, BASE, context="public"
        )

    assert len(ours) > 200
    assert theirs == ours


async def test_a_restart_keeps_the_engine_id_and_the_indexes_and_raises_the_boots(tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []
    for _ in range(2):
        engine = await asyncio.to_thread(start_engine, tmp_path, engine_id=None, now=0.0)
        present = store()
        if seen:
            present.forget_source("luna-a")
        one = Responder(await load_settings(tmp_path), present, engine, state_directory=tmp_path)
        await one.start()
        walked = await ask(one, NMS).walk(".1.3")
        await one.close()
        seen.append(walked)

    before, after = seen
    engine_id, boots = ".1.3.6.1.6.3.10.2.1.1.0", ".1.3.6.1.6.3.10.2.1.2.0"
    assert before[engine_id] == after[engine_id]
    assert [walked[boots] for walked in seen] == ["INTEGER: 1", "INTEGER: 2"]
    sources = {name: value for name, value in before.items() if name.startswith(f"{ROOT}.1.3.1.2.")}
    assert sources[f"{ROOT}.1.3.1.2.3"] == after[f"{ROOT}.1.3.1.2.3"] == 'STRING: "soft"'
    assert f"{ROOT}.1.3.1.2.1" not in after
