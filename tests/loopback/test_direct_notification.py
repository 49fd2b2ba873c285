"""`test-notification --directly`: what is said of receivers that acknowledge, that say nothing, and that are not there."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from hsm_agent.cli.direct_notification import NotNowError, Proof, prove
from hsm_agent.cli.main import cli
from hsm_agent.config.tree import Config
from hsm_agent.settings.trust import TRUSTED_UIDS
from hsm_agent.state.files import DirectoryLock
from tests.fakes.relp_server import RelpScript, accept_all
from tests.fakes.stream_server import StreamServer
from tests.peers.rights import needs_root

if TYPE_CHECKING:
    from pathlib import Path


def config(folder: Path, *sinks: dict[str, Any]) -> Config:
    return Config.model_validate(
        {"agent": {"state_directory": str(folder / "var"), "labels": {"site": "a"}}, "deliver": list(sinks)}
    )


def proofs(wanted: Config) -> dict[str, Proof]:
    return {proof.sink: proof for proof in prove(wanted, wanted.deliver)}


async def test_each_receiver_is_proved_as_far_as_it_can_be(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        async with StreamServer(script=RelpScript([accept_all])) as server:
            wanted = config(
                tmp_path,
                {"name": "relp", "kind": "syslog", "to": f"relp:127.0.0.1:{server.port}"},
                {"name": "udp", "kind": "syslog", "to": f"udp:127.0.0.1:{receiver.getsockname()[1]}"},
                {"name": "gone", "kind": "syslog", "to": "tcp:127.0.0.1:9"},
            )
            found = await asyncio.to_thread(proofs, wanted)
        datagram = await asyncio.to_thread(receiver.recv, 65536)

    assert {name: proof.is_sent for name, proof in found.items()} == {"relp": True, "udp": True, "gone": False}
    assert found["relp"].text.endswith(": accepted, the receiver acknowledged it")
    assert ": sent; receivers of this kind acknowledge nothing: look there for TEST " in found["udp"].text
    assert ": not accepted: " in found["gone"].text
    assert b'site="a"' in datagram
    assert b" TEST " in datagram


def test_an_engine_starts_for_snmpv3_alone_and_keeps_its_boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHRASE", "a long pass-phrase")
    secret = {"env": "PHRASE"}
    user = {"name": "noc", "auth": {"protocol": "SHA-256", "secret": secret}}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        to = f"udp:127.0.0.1:{receiver.getsockname()[1]}"
        trap = {"name": "trap", "kind": "snmp", "to": to, "version": "v3", "type": "trap", "user": user}
        first = proofs(config(tmp_path, trap))
        proofs(config(tmp_path, trap))

    assert first["trap"].is_sent
    state = json.loads((tmp_path / "var" / "snmp-engine.json").read_text())
    assert [*state["boots"].values()] == [2]


def test_the_verb_says_what_became_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED_UIDS, str(os.geteuid()))
    file = tmp_path / "agent.yaml"
    state = {"state_directory": str(tmp_path / "var")}
    file.write_text(
        json.dumps({"agent": state, "deliver": [{"name": "gone", "kind": "syslog", "to": "tcp:127.0.0.1:9"}]})
    )
    file.chmod(0o600)
    words = ["test-notification", "--directly", "--config", str(file)]
    gone, unknown = (CliRunner().invoke(cli, [*words, "--sink", name]) for name in ("gone", "none"))
    lock = DirectoryLock(tmp_path / "var")
    running = CliRunner().invoke(cli, words)
    lock.close()

    assert (gone.exit_code, unknown.exit_code, running.exit_code) == (1, 1, 1)
    assert gone.output.startswith("gone: syslog tcp tcp:127.0.0.1:9: not accepted: ")
    assert unknown.stderr == "hsm-agent: no sink is called 'none'\n"
    assert "another hsm-agent uses this state directory" in running.stderr


def test_nothing_is_sent_where_the_agent_runs(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "var")
    try:
        with pytest.raises(NotNowError, match="another hsm-agent uses this state directory"):
            proofs(config(tmp_path, {"name": "gone", "kind": "syslog", "to": "tcp:127.0.0.1:9"}))
    finally:
        lock.close()


def test_an_engine_that_cannot_be_read_is_no_reason_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHRASE", "a long pass-phrase")
    (tmp_path / "var").mkdir(mode=0o700)
    (tmp_path / "var" / "snmp-engine.json").write_text("no JSON")
    user = {"name": "noc", "auth": {"protocol": "SHA-256", "secret": {"env": "PHRASE"}}}
    sink = {"name": "trap", "kind": "snmp", "to": "udp:127.0.0.1:9", "version": "v3", "type": "trap", "user": user}

    with pytest.raises(NotNowError, match="not what the agent wrote"):
        proofs(config(tmp_path, sink))


@needs_root
def test_root_leaves_no_file_in_the_folder_of_the_agents_user(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    folder.mkdir()
    os.chown(folder, 12345, 12345)

    with pytest.raises(NotNowError, match="belongs to the user with uid 12345: run this as that user"):
        prove(config(tmp_path), [])

    assert list(folder.iterdir()) == []
