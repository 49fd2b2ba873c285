"""The service files: what systemd's and the shell's own checkers say of them, and that the SysV script does its job."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.peers.require import environment_for, prefix_of, require
from tests.peers.rights import NO_ROOT

INIT = Path(__file__).resolve().parents[2] / "init"
UNIT = INIT / "hsm-agent.service"
LUNA = INIT / "hsm-agent.service.d" / "luna.conf"
HIGHEST_EXPOSURE = 1.5


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = require("systemd-analyze")
    environment = {**os.environ, **environment_for(program), "SYSTEMD_LOG_LEVEL": "info"}
    if (prefix := prefix_of(program)) != Path("/"):
        units = [folder for each in ("lib", "usr/lib") if (folder := prefix / each / "systemd/system").is_dir()]
        environment["SYSTEMD_UNIT_PATH"] = "".join(f"{folder}:" for folder in units)
    command = [str(program), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=50)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit in a folder of its own, starting a program that exists here."""
    program = tmp_path / "hsm-agent"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    text = UNIT.read_text(encoding="utf-8")
    assert text.count("/opt/hsm-agent/bin/hsm-agent") == 1
    path = tmp_path / UNIT.name
    path.write_text(text.replace("/opt/hsm-agent/bin/hsm-agent", str(program)), encoding="utf-8")
    return path


def _with_luna(unit: Path) -> Path:
    folder = unit.parent / f"{unit.name}.d"
    folder.mkdir()
    shutil.copy(LUNA, folder)
    return unit


def _exposure(unit: Path) -> float:
    done = _analyze("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


def test_systemd_verifies_the_unit_without_a_word(unit: Path) -> None:
    done = _analyze("verify", "--man=no", str(unit))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_verifies_the_unit_with_the_luna_drop_in_without_a_word(unit: Path) -> None:
    done = _analyze("verify", "--man=no", str(_with_luna(unit)))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verification_would_notice_an_unknown_option(unit: Path) -> None:
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHouse="), encoding="utf-8")

    assert "ProtectHouse" in _analyze("verify", "--man=no", str(unit)).stderr


def test_the_unit_is_hardened(unit: Path) -> None:
    assert _exposure(unit) <= HIGHEST_EXPOSURE


def test_a_worker_that_is_killed_for_memory_does_not_stop_the_unit() -> None:
    lines = UNIT.read_text(encoding="utf-8").splitlines()

    assert "OOMPolicy=continue" in lines
    assert "KillMode=mixed" in lines


def test_the_luna_drop_in_loosens_little(unit: Path) -> None:
    done = _analyze("security", "--offline=true", "--no-pager", str(_with_luna(unit)))

    assert re.search(r"✗ ProcSubset=", done.stdout)
    assert _exposure(unit) <= HIGHEST_EXPOSURE


def test_the_init_scripts_pass_shellcheck() -> None:
    shellcheck = require("shellcheck")
    for arguments in (
        ["hsm-agent.init"],
        ["-s", "sh", "-e", "SC2034,SC2154", "hsm-agent.openrc"],
    ):  # 2034: openrc reads
        done = subprocess.run(
            [shellcheck, *arguments], cwd=INIT, capture_output=True, text=True, check=False, timeout=30
        )
        assert (done.returncode, done.stdout) == (0, "")


_FAKE_AGENT = """#!/bin/sh
case $1 in
check-config) grep -q good "$3" || {{ echo "$3: bad" >&2; exit 2; }} ;;
run)
    trap 'echo reloaded >>{log}' HUP
    trap 'echo drained >>{log}; exit 0' TERM
    echo "running in $STATE_DIRECTORY" >>{log}
    while :; do sleep 0.1; done
    ;;
esac
"""


class _Service:
    """The SysV script with its places moved below a folder, and a stand-in for the agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "fake.log"
        self.config = folder / "agent.yaml"
        self.config.write_text("good\n", encoding="utf-8")
        self.program = folder / "hsm-agent"
        self.program.write_text(_FAKE_AGENT.format(log=self.log), encoding="utf-8")
        self.program.chmod(0o755)
        places = {
            "PROGRAM": self.program,
            "CONFIG": self.config,
            "ACCOUNT": pwd.getpwuid(os.getuid()).pw_name,
            "STATE": folder / "state",
            "RUNTIME": folder / "runtime",
            "PIDFILE": folder / "agent.pid",
            "LOGFILE": folder / "agent.log",
        }
        text = (INIT / "hsm-agent.init").read_text(encoding="utf-8")
        for name, value in places.items():
            text, count = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
            assert count == 1, name
        self._script = folder / "hsm-agent.init"
        self._script.write_text(text, encoding="utf-8")

    def do(self, action: str) -> int:
        done = subprocess.run(
            ["/bin/sh", self._script, action], capture_output=True, text=True, check=False, timeout=30
        )
        return done.returncode

    def wait_for(self, line: str) -> bool:
        for _ in range(100):
            if self.log.exists() and line in self.log.read_text(encoding="utf-8").splitlines():
                return True
            time.sleep(0.05)
        return False

    @property
    def pid(self) -> int:
        return int((self.folder / "agent.pid").read_text(encoding="ascii"))


@pytest.fixture
def service(tmp_path: Path) -> _Service:
    require("start-stop-daemon")
    if os.getuid() != 0:
        pytest.skip(NO_ROOT)  # as an init script does
    return _Service(tmp_path)


def test_the_sysv_script_starts_reloads_and_stops(service: _Service) -> None:
    assert service.do("status") == 3
    assert service.do("start") == 0
    try:
        assert service.wait_for(f"running in {service.folder / 'state'}")
        assert service.do("status") == 0
        pid = service.pid
        assert service.do("start") == 0
        assert service.pid == pid
        assert service.do("reload") == 0
        assert service.wait_for("reloaded")
        assert service.do("restart") == 0
        assert service.pid != pid
    finally:
        assert service.do("stop") == 0
    assert service.wait_for("drained")
    assert service.do("status") == 3
    assert service.do("stop") == 0


def test_the_sysv_script_refuses_a_bad_configuration_and_leaves_what_runs(service: _Service) -> None:
    assert service.do("start") == 0
    try:
        service.config.write_text("bad\n", encoding="utf-8")

        assert service.do("reload") == 6
        assert service.do("restart") == 6
        assert service.do("status") == 0
    finally:
        assert service.do("stop") == 0
    assert service.do("start") == 6
    assert service.do("status") == 3


def test_the_sysv_script_notices_an_agent_that_died(service: _Service) -> None:
    assert service.do("start") == 0
    os.kill(service.pid, signal.SIGKILL)
    for _ in range(200):  # until the system's first process has reaped it
        if not Path(f"/proc/{service.pid}").exists():
            break
        time.sleep(0.05)

    assert service.do("status") == 1
    assert service.do("reload") == 7
    assert service.do("stop") == 0


def test_the_sysv_script_says_when_nothing_is_installed(service: _Service) -> None:
    service.program.unlink()

    assert service.do("start") == 5


def test_the_sysv_script_knows_no_other_action(service: _Service) -> None:
    assert service.do("dance") == 2
