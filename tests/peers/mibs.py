"""The IETF's base MIB texts, which Debian's net-snmp lacks; its erlang-snmp package has them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.peers.require import PEERS, ROOT, missing

OURS = ROOT / "mibs"
_NET_SNMP = Path("/usr/share/snmp/mibs")


@dataclass(frozen=True, slots=True)
class Mibs:
    """Folders of MIB texts, for smilint (`SMIPATH`) and for net-snmp's tools (`-M`)."""

    folders: tuple[Path, ...]

    @property
    def path(self) -> str:
        return ":".join(str(folder) for folder in self.folders)

    def lint(self, text: Path) -> str:
        """What smilint says of a MIB. Its exit status is 0 whatever it finds, so only its words count."""
        command = ["smilint", "-s", "-m", "-l6", "-i", "type-without-format", str(text)]
        environment = {**os.environ, "SMIPATH": self.path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout + done.stderr

    def translate(self, *arguments: str, extra: Path = OURS) -> str:
        """The output of snmptranslate with HSM-AGENT-MIB of the folder `extra` loaded."""
        command = ["snmptranslate", "-M", f"{self.path}:{extra}", "-m", "HSM-AGENT-MIB", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def base_mibs() -> Mibs:
    """The base texts, or the end of the test."""
    places = [*PEERS.glob("**/snmp-*/mibs"), *Path("/usr/lib/erlang/lib").glob("snmp-*/mibs")]
    for place in places:
        if (place / "SNMPv2-SMI.mib").is_file() and _NET_SNMP.is_dir():
            return Mibs((place, _NET_SNMP))
    return missing("the IETF's MIB texts")
