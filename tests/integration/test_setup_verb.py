"""`hsm-agent setup` by a person at a terminal, on a real token and with a real receiver.

What it does by options is in tests/products/setup.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest

from hsm_agent.config.tree import Config, load
from tests.peers.require import ROOT
from tests.peers.snmptrapd import Snmptrapd
from tests.peers.softhsm import SoftHsm
from tests.peers.terminal import Terminal
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "hsm_agent", "setup"]
AUTH, PRIVACY = "authentication phrase", "privacy phrase"
KNOWN = [f'createUser noc SHA-256 "{AUTH}" AES "{PRIVACY}"', "authUser log noc priv"]


def environment(hsm: SoftHsm) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "TMPDIR", "COVERAGE"))}
    return {**kept, **trusting(), **hsm.environment, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}


async def loaded(folder: Path) -> Config:
    return (await asyncio.to_thread(load, folder / "agent.yaml", trusting())).config


@pytest.fixture
def softhsm(tmp_path: Path) -> SoftHsm:
    made = SoftHsm(tmp_path / "hsm")
    made.create_token("payments")
    return made


async def test_a_person_is_asked_and_secrets_are_not_shown(tmp_path: Path, softhsm: SoftHsm) -> None:
    async with Snmptrapd(tmp_path / "traps", KNOWN) as trapd:
        words = ["--to", str(tmp_path / "etc"), "--module", str(softhsm.module)]
        with Terminal([*COMMAND, *words], {**environment(softhsm), "TERM": "dumb"}) as terminal:
            answers = {
                "when it is gone [*]: ": "pay*",
                "SNMP notifications to (udp:HOST:162; empty: none): ": trapd.address,
                "version, v3 or v2c [v3]: ": "",
                "inform (acknowledged) or trap [inform]: ": "",
                "user name [hsm-agent]: ": "noc",
                "authentication pass-phrase (SHA-256) (empty: one is made): ": "short",
                "SNMPv3 wants 8 characters or more\n  authentication pass-phrase (SHA-256) (empty: one is made): ": AUTH,
                "privacy pass-phrase (AES-128) (empty: one is made): ": PRIVACY,
                "Syslog records to ": "",
                "Alerts to an Alertmanager ": "",
                "SNMPv3 user of a manager that may read (empty: none): ": "",
                "and 2 secrets? [Y/n]: ": "y",
                "Send a test notification to 1 receiver? [Y/n]: ": "",
            }
            for question, answer in answers.items():
                await asyncio.to_thread(terminal.until, question)
                terminal.type(f"{answer}\n")
            code = await asyncio.to_thread(terminal.end)

    assert code == 0, terminal.shown
    assert "test noc: snmp inform" in terminal.shown
    assert "accepted, the receiver acknowledged it" in terminal.shown
    assert (AUTH in terminal.shown, PRIVACY in terminal.shown) == (False, False)
    [source] = (await loaded(tmp_path / "etc")).sources
    assert source.model_dump()["tokens"] == ("pay*",)
