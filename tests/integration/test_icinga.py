"""The check commands for Icinga 2, as Icinga itself reads them."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from hsm_agent.cli.check import parser
from tests.peers.require import PEERS, ROOT, environment_for, require
from tests.peers.rights import needs_root

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = ROOT / "conf" / "icinga2-commands.conf"
EXAMPLE = ROOT / "integrations" / "icinga2" / "hsm-agent.conf"
SERVICES = """
include <itl>
include "{commands}"
object Host "hsm" {{ check_command = "dummy" }}
object Service "token" {{
  host_name = "hsm"
  check_command = "{token}"
  vars.hsm_agent_module = "/usr/lib/softhsm/libsofthsm2.so"
  vars.hsm_agent_token = "payments"
}}
object Service "sessions" {{
  host_name = "hsm"
  check_command = "hsm-agent-metric"
  vars.hsm_agent_metric = "token_sessions_used_percent"
}}
"""


def validate(folder: Path, configuration: str) -> subprocess.CompletedProcess[str]:
    """`icinga2 daemon -C` on a configuration."""
    launcher = require("icinga2")
    # What is on PATH is a shell script that names the program by an absolute path.
    unpacked = sorted(PEERS.glob("*/usr/lib/*/icinga2/sbin/icinga2"))
    file = folder / "icinga2.conf"
    file.write_text(configuration, encoding="utf-8")
    words = [str(unpacked[0] if unpacked else launcher), "daemon", "-C", "-c", str(file)]
    if unpacked:
        words += ["-I", str(unpacked[0].parents[4] / "share" / "icinga2" / "include")]
    for place in ("DataDir", "LogDir", "CacheDir", "SpoolDir", "InitRunDir"):
        (folder / place).mkdir(exist_ok=True)
        words.append(f"-D{place}={folder / place}")
    words += ["-DRunAsUser=root", "-DRunAsGroup=root", "-DNodeName=hsm", "-DPluginDir=/usr/lib/nagios/plugins"]
    environment = {**os.environ, **environment_for(unpacked[0] if unpacked else launcher)}
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=50, env=environment)


def services(token: str = "hsm-agent-token") -> str:
    return SERVICES.format(commands=COMMANDS, token=token)


@needs_root
def test_icinga_accepts_the_check_commands(tmp_path: Path) -> None:
    done = validate(tmp_path, services())

    assert done.returncode == 0, done.stdout
    assert "Instantiated 2 Services" in done.stdout


@needs_root
def test_icinga_would_say_what_is_wrong(tmp_path: Path) -> None:
    done = validate(tmp_path, services("hsm-agent-tokem"))

    assert done.returncode != 0
    assert "hsm-agent-tokem" in done.stdout


@needs_root
def test_icinga_accepts_the_example_and_makes_a_service_of_each_token_and_source(tmp_path: Path) -> None:
    done = validate(tmp_path, f'include <itl>\ninclude <plugins>\ninclude "{COMMANDS}"\ninclude "{EXAMPLE}"\n')

    assert done.returncode == 0, done.stdout
    assert "Instantiated 1 Host." in done.stdout
    assert "Instantiated 7 Services." in done.stdout
    assert "warning/" not in done.stdout


def test_every_option_that_icinga_gives_is_one_that_check_knows() -> None:
    given = set(re.findall(r'"(--[a-z-]+)" = \{', COMMANDS.read_text(encoding="utf-8")))
    known = {option for action in parser()._actions for option in action.option_strings}

    assert given <= known
    assert known - given == {"-p", "-l", "-m", "-w", "-c", "-t", "-v", "--verbose", "-h", "--help", "-V", "--version"}
