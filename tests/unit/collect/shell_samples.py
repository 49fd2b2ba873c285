"""What the tests of shell parsers share: the samples, and a look at what was read of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers import PARSERS

if TYPE_CHECKING:
    from hsm_agent.collect.command.parsers.text import ParsedOutput
    from hsm_agent.collect.series import Fact

FOLDER = Path(__file__).resolve().parents[2] / "data" / "shell"

SAMPLES = {
    "hsm_show": "lunash-hsm-show",
    "hsm_show_zeroized": "lunash-hsm-show",
    "hsm_show_crlf_banner": "lunash-hsm-show",
    "partition_show": "lunash-partition-show",
    "partition_show_old": "lunash-partition-show",
    "partition_list": "lunash-partition-list",
    "audit_show": "lunash-audit-show",
    "audit_show_no_daemon": "lunash-audit-show",
    "audit_status": "lunacm-audit-status",
    "sensors": "lunash-sensors",
    "sensors_columns": "lunash-sensors",
    "sysstat": "lunash-sysstat",
    "pkcs11_tool_slots": "pkcs11-tool-slots",
    "pkcs11_tool_slots_one_label": "pkcs11-tool-slots",
}
"""Samples of outputs that are well, and who reads them."""


def sample(name: str) -> str:
    """A sample as it was printed, line ends included."""
    return (FOLDER / f"{name}.txt").read_bytes().decode()


def read(name: str) -> ParsedOutput:
    """A sample as its parser reads it."""
    return PARSERS[SAMPLES[name]](sample(name))


def values(parsed: ParsedOutput, resource: str = "") -> dict[str, float | int | None]:
    """What was read of one resource; a label `role` stands behind the metric."""
    return {_name(fact): fact.value for fact in parsed.facts if fact.resource == resource}


def reasons(parsed: ParsedOutput) -> dict[str, str]:
    """Why metrics have no value."""
    return {_name(fact): fact.reason for fact in parsed.facts if fact.value is None}


def labels(parsed: ParsedOutput, metric: str, resource: str = "") -> dict[str, str]:
    """The labels of the one fact of that name."""
    (found,) = [dict(fact.labels) for fact in parsed.facts if (fact.metric, fact.resource) == (metric, resource)]
    return found


def limit(parsed: ParsedOutput, resource: str, metric: str) -> float | None:
    (found,) = [fact.limit for fact in parsed.facts if (fact.metric, fact.resource) == (metric, resource)]
    return found


def _name(fact: Fact) -> str:
    role = dict(fact.labels).get("role")
    return f"{fact.metric} {role}" if role else fact.metric
