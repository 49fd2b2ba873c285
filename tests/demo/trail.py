"""The audit trail of the demonstration: followed by the agent, verified by hand, forged, and verified again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hsm_agent.agent.control_client import ask
from tests.peers.trails import CratonWriter

if TYPE_CHECKING:
    from pathlib import Path

RULE = "trail-chain"
_WRONG_PIN = {"Failure": 0xA0}


@dataclass
class Trail:
    """Two files of a rotated set, as Craton HSM writes them. A forger changes an entry behind the module's back."""

    folder: Path
    control: Path
    label: str = "craton.log"
    what: str = "a Craton HSM's audit trail: is its chain of hashes whole"
    real: bool = False
    writer: CratonWriter = field(default_factory=CratonWriter)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.files[0].write_bytes(b"".join(self.writer.lines(100)))
        day = [*self.writer.lines(20), self.writer.line({"Login": {"user_type": 1}}, _WRONG_PIN)]
        self.files[1].write_bytes(b"".join(day))

    @property
    def files(self) -> tuple[Path, Path]:
        """The rotated file, and the one that is written."""
        return self.folder / f"{self.label}.1", self.folder / self.label

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """The alarms it is to set off: resource and default rule."""
        return ((self.label, RULE),)

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Its source in the configuration."""
        return [{"name": "craton", "kind": "audit_trail", "format": "craton", "path": str(self.files[1])}]

    def rise(self) -> str:
        """Make a success of a failed login; the module's next entries still vouch for what was there."""
        current = self.files[1]
        forged = current.read_bytes().replace(b'{"Failure":160}', b'"Success"')
        current.write_bytes(forged + self.writer.line("Logout") + self.writer.line("CloseSession"))
        return "a failed login forged into one that worked"

    def fall(self) -> str:
        """An operator has seen it: the alarm is forgotten."""
        for alarm in ask(self.control, "status")["alarms"]:
            if alarm["rule"] == RULE:
                ask(self.control, "forget", alarm_id=alarm["alarm_id"])
        return "its alarm forgotten by an operator who has seen it"
