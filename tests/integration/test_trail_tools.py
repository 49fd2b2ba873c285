"""What docs/sources/audit_trail.md shows does what it says: its commands, Debian's logrotate, rsyslog's imfile."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peers import pki as certificates
from tests.peers.daemon import Daemon
from tests.peers.require import environment_for, require
from tests.peers.rsyslog import Rsyslog
from tests.peers.trails import CratonWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.peers.pki import Pki

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/sources/audit_trail.md").read_text(encoding="utf-8")


def _snippet(word: str) -> str:
    """The page's block that has this word in it."""
    (found,) = (block for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) if word in block)
    return str(found)


def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    for name in ("audit.jsonl.1", "audit.jsonl"):
        shutil.copy(ROOT / "tests/data/craton" / name.replace("audit", "rot"), tmp_path / name)
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    command, _, shown = block.removeprefix("$ ").partition("\n")
    words = shlex.split(command)
    assert words[0] == "hsm-agent"
    done = subprocess.run(
        [sys.executable, "-P", "-m", *("hsm_agent", *words[1:])], cwd=tmp_path, capture_output=True, text=True,
        check=False, timeout=50, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")


@dataclass(frozen=True)
class _Logrotate:
    """The page's snippet, for files below a folder and the user of the test."""

    folder: Path

    @property
    def trail(self) -> Path:
        return self.folder / "log/audit.jsonl"

    def prepare(self) -> None:
        for name in ("log", "lib", "bin"):
            (self.folder / name).mkdir(mode=0o755)
        agent = self.folder / "bin/hsm-agent"
        agent.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m hsm_agent "$@"\n')
        agent.chmod(0o755)
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        text = _snippet("firstaction").replace("craton craton", f"{user} {group}")
        text = text.replace("/var/log/craton", str(self.folder / "log"))
        configuration = self.folder / "logrotate.conf"
        configuration.write_text(text.replace("/var/lib/craton", str(self.folder / "lib")))
        configuration.chmod(0o644)

    def run(self) -> subprocess.CompletedProcess[str]:
        """As if the file had its size."""
        program = require("logrotate")
        words = [str(program), "--force", "--state", str(self.folder / "status"), str(self.folder / "logrotate.conf")]
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, **environment_for(program), "PATH": path, "PYTHONPATH": str(ROOT)}
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=50, env=environment)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / "log").iterdir()}


@pytest.fixture
def logrotate(tmp_path: Path) -> _Logrotate:
    made = _Logrotate(tmp_path)
    made.prepare()
    return made


def test_logrotate_rotates_a_trail_that_is_intact(logrotate: _Logrotate) -> None:
    writer = CratonWriter()
    days = [b"".join(writer.lines(20)) for _ in range(3)]
    for day in days:
        logrotate.trail.write_bytes(day)
        done = logrotate.run()
        assert (done.returncode, done.stderr) == (0, "")

    assert logrotate.files() == {
        "audit.jsonl": b"",
        **{f"audit.jsonl.{age}": day for age, day in enumerate(reversed(days), 1)},
    }
    assert logrotate.trail.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("forged", [3, 19], ids=["an early line", "the line before the last"])
def test_logrotate_keeps_a_trail_that_is_broken_where_it_is(logrotate: _Logrotate, forged: int) -> None:
    writer = CratonWriter()
    logrotate.trail.write_bytes(b"".join(writer.lines(20)))
    logrotate.run()
    lines = list(writer.lines(20))
    lines[forged - 1] = lines[forged - 1].replace(b'"session_handle":1', b'"session_handle":2')
    logrotate.trail.write_bytes(b"".join(lines))
    before = logrotate.files()
    logrotate.run()
    done = logrotate.run()

    assert done.returncode == 1
    assert f"audit.jsonl: BROKEN at line {forged + 1}: expected " in done.stdout + done.stderr
    assert logrotate.files() == before


@dataclass
class _Shipper(Daemon):
    """rsyslog with the page's snippet: it follows a trail and sends it to another rsyslog."""

    folder: Path
    trail: Path
    port: int
    pki: Pki

    @property
    def log(self) -> Path:
        return self.folder / "shipper.log"

    async def start(self) -> None:
        places = {
            "/var/log/craton/audit.jsonl": self.trail,
            "logs.example.net": certificates.SERVER_NAME,
            'port="2514"': f'port="{self.port}"',
            "/etc/ssl/certs/logs-ca.pem": self.pki.ca,
            "/etc/rsyslog/cert.pem": self.pki.agent.certificate,
            "/etc/rsyslog/key.pem": self.pki.agent.key,
        }
        text = _snippet("imfile")
        for name, place in places.items():
            assert name in text
            text = text.replace(name, str(place))
        configuration = self.folder / "shipper.conf"
        configuration.write_text(f'global(workDirectory="{self.folder}")\n{text}')
        await self._run(
            require("rsyslogd"),
            ["-n", "-i", str(self.folder / "shipper.pid"), "-f", str(configuration)],
            tcp=(),
            udp=(),
        )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Rsyslog, Pki]]:
    folder = tmp_path / "pki"
    folder.mkdir()
    pki = certificates.make(folder)
    async with Rsyslog(program=require("rsyslogd"), folder=tmp_path, identity=pki.server, ca=pki.ca) as rsyslog:
        yield rsyslog, pki


async def test_rsyslog_ships_each_line_whole(tmp_path: Path, server: tuple[Rsyslog, Pki]) -> None:
    rsyslog, pki = server
    (tmp_path / "shipper").mkdir()
    trail, writer = tmp_path / "audit.jsonl", CratonWriter()
    lines = list(writer.lines(200))
    trail.write_bytes(b"".join(lines[:50]))
    async with _Shipper(tmp_path / "shipper", trail, rsyslog.ports["relp+tls"], pki):
        await rsyslog.until(50, seconds=20)
        with trail.open("ab") as file:
            file.writelines(lines[50:100])
        await rsyslog.until(100, seconds=20)
        trail.rename(tmp_path / "audit.jsonl.1")
        trail.write_bytes(b"".join(lines[100:]))
        found = await rsyslog.until(200, seconds=20)

    assert [each.text.removeprefix(" ").encode() + b"\n" for each in found] == lines
