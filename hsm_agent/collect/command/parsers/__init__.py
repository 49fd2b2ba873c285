"""The parsers a run may name, and the metrics that each may produce. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from hsm_agent.collect.command.parsers import regex
from hsm_agent.collect.command.parsers.luna_hsm import parse_audit_show, parse_audit_status, parse_hsm_show
from hsm_agent.collect.command.parsers.luna_partitions import parse_partition_list, parse_partitions
from hsm_agent.collect.command.parsers.luna_system import parse_sensors, parse_sysstat
from hsm_agent.collect.command.parsers.pkcs11_tool_slots import parse_slots
from hsm_agent.collect.command.parsers.text import check_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hsm_agent.collect.command.parsers.text import ParsedOutput
    from hsm_agent.settings.regex import Pattern

REGEX = "regex"
"""The parser that is made of the run's own patterns: see regex.py."""

ParserName = Literal[
    "lunash-hsm-show",
    "lunash-partition-show",
    "lunash-partition-list",
    "lunash-audit-show",
    "lunash-sensors",
    "lunash-sysstat",
    "lunacm-audit-status",
    "pkcs11-tool-slots",
    "regex",
]

PARSERS: Mapping[str, Callable[[str], ParsedOutput]] = {
    "lunash-hsm-show": parse_hsm_show,
    "lunash-partition-show": parse_partitions,
    "lunash-partition-list": parse_partition_list,
    "lunash-audit-show": parse_audit_show,
    "lunash-sensors": parse_sensors,
    "lunash-sysstat": parse_sysstat,
    "lunacm-audit-status": parse_audit_status,
    "pkcs11-tool-slots": parse_slots,
}
"""Each raises Malformed, and nothing else, where an output as a whole is not what it reads."""

LISTING = frozenset({"lunash-partition-show", "lunash-partition-list", "pkcs11-tool-slots"})
"""Those that list tokens or partitions: one that is not in a complete listing is not there."""

_FILL = ("total_bytes", "used_bytes", "free_bytes", "used_percent")
_PIN = ("count_low", "final_try", "locked", "state")
_AUDIT = ("audit_records", "audit_capacity_records", "audit_used_percent", "audit_seconds_to_full")

METRICS_PRODUCED: Mapping[str, Sequence[str]] = {
    "lunash-hsm-show": (
        *("token_login_attempts_left", "hsm_transport_mode", "hsm_tampered", "audit_role_initialized"),
        *(f"hsm_storage_{what}" for what in _FILL),
        *("sensor_celsius", "sensor_volts", "hsm_battery_well", "hsm_partitions", "hsm_partitions_max"),
        *("hsm_info", "hsm_firmware_info"),
    ),
    "lunash-partition-show": (
        *("token_present", "token_objects", "token_info", "token_role_locked", "token_zeroized"),
        *("token_login_attempts_left", *(f"token_storage_{what}" for what in _FILL)),
    ),
    "lunash-partition-list": (
        *("token_present", "token_objects", "token_info"),
        *(f"token_storage_{what}" for what in _FILL),
    ),
    "lunash-audit-show": (
        *_AUDIT,
        *("audit_export_working", "audit_logging_configured", "audit_role_initialized", "hsm_clock_offset_seconds"),
    ),
    "lunash-sensors": ("sensor_celsius", "sensor_volts", "sensor_fan_rpm", "sensor_well"),
    "lunash-sysstat": ("hsm_operational", "hsm_trouble", "hsm_status_info"),
    "lunacm-audit-status": (*_AUDIT, "audit_role_initialized"),
    "pkcs11-tool-slots": (
        *("token_present", "token_initialized", "token_info", "slot_info"),
        *(f"token_{who}pin_{what}" for who in ("", "so_") for what in _PIN),
    ),
}
"""The metrics each may produce; those of `regex` are named by its patterns."""

assert METRICS_PRODUCED.keys() == PARSERS.keys()
assert {*PARSERS, REGEX} == {*get_args(ParserName)}


def read(
    parser: str, patterns: Sequence[Pattern], output: bytes, is_late: Callable[[], bool] = lambda: False
) -> ParsedOutput:
    """What an output says. Raises Malformed where it is not what the parser reads, or is more than can be meant."""
    text = output.decode("utf-8", "replace")
    parsed = regex.parse(text, patterns, is_late) if parser == REGEX else PARSERS[parser](text)
    check_number(len(parsed.facts))
    return parsed
