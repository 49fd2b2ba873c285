"""What LunaSH prints for `hsm show`. Pure."""

from __future__ import annotations

import re

from hsm_agent.collect.command.parsers.facts import Sheet, attempts_left, fill, missing, unlike
from hsm_agent.collect.command.parsers.text import (
    Malformed,
    Parsed,
    check_result,
    count,
    fields_of,
    number,
    one_line,
    whole_lines,
    yes_or_no,
)

_ATTEMPTS = "hsm admin login attempts left"
_TAMPER = "hsm tamper state"
_STORAGE = ("maximum hsm storage space (bytes)", "space in use (bytes)", "free space left (bytes)")
_NO_TAMPER = re.compile(r"no tampers?(?:\(s\))?\.?", re.IGNORECASE)
_TAMPERED = re.compile(r"tampers?(?:\(s\))? detected\b.*", re.IGNORECASE)
_ZEROIZED = re.compile(r"\s*(?:[^:]*:)?\s*hsm is zeroized\b", re.IGNORECASE)
_CELSIUS = r"(?:deg(?:rees|\.)?\s*)?c\b\.?"


def parse(text: str) -> Parsed:
    """Readings of `hsm show`. Raises Malformed where the output is not one, or says that the command failed."""
    lines = whole_lines(text)
    check_result(lines)
    sheet = Sheet(fields_of(lines))
    zeroized = any(_ZEROIZED.match(line) for line in lines)
    _logins(sheet, zeroized=zeroized)
    sheet.take("hsm_transport_mode", ["secure transport mode"], yes_or_no)
    _tamper(sheet, zeroized=zeroized)
    _storage(sheet)
    _environment(sheet)
    sheet.take("audit_role_initialized", ["audit role initialized"], yes_or_no, optional=True)
    sheet.take("hsm_partitions", ["number of partitions created"], count, optional=True)
    sheet.take("hsm_partitions_max", ["number of partitions allowed"], count, optional=True)
    if sheet.empty:
        raise unlike("hsm show", lines)
    _identity(sheet)
    return Parsed(facts=tuple(sheet.facts))


def _logins(sheet: Sheet, *, zeroized: bool) -> None:
    labels = [("role", "so")]
    if zeroized:
        sheet.add("token_login_attempts_left", None, "the HSM is zeroized", labels=labels)
        return
    sheet.take("token_login_attempts_left", [_ATTEMPTS], attempts_left, labels=labels)


def _tamper(sheet: Sheet, *, zeroized: bool) -> None:
    """Tampered or zeroized: any sign is enough for 1, and 0 needs the HSM's own word."""
    try:
        signs = [
            int(zeroized),
            sheet.number([_TAMPER], _tamper_state),
            sheet.number(["manually zeroized"], yes_or_no),
        ]
    except Malformed as error:
        sheet.add("hsm_tampered", 1 if zeroized else None, "" if zeroized else str(error))
        return
    if any(signs):
        sheet.add("hsm_tampered", 1)
    elif signs[1] is None:
        sheet.add("hsm_tampered", None, missing(_TAMPER))
    else:
        sheet.add("hsm_tampered", 0)


def _tamper_state(value: str, line: str) -> int:
    if _NO_TAMPER.fullmatch(value):
        return 0
    if _TAMPERED.fullmatch(value):
        return 1
    raise Malformed(f"no known tamper state: {one_line(line)}")


def _storage(sheet: Sheet) -> None:
    values: list[float | None] = []
    reason = ""
    for name in _STORAGE:
        try:
            values.append(sheet.number([name], count))
            reason = reason or ("" if values[-1] is not None else missing(name))
        except Malformed as error:
            values.append(None)
            reason = str(error)
    total, used, free = values
    fill(sheet, "hsm_storage", total, used, free, reason)


def _environment(sheet: Sheet) -> None:
    """Battery and temperature, which not every model prints, each with the HSM's own threshold."""
    _sensor(
        sheet,
        "sensor_celsius",
        "system",
        ("system temp", "system temperature"),
        ("system temp warning threshold", "system temperature warning threshold"),
        _CELSIUS,
    )
    volts = _sensor(
        sheet,
        "sensor_volts",
        "battery",
        ("battery voltage",),
        ("battery warning threshold voltage", "battery warning threshold"),
        "v",
    )
    if volts is not None:
        level, threshold = volts
        sheet.add("hsm_battery_well", int(level > threshold))


def _sensor(
    sheet: Sheet, metric: str, resource: str, names: tuple[str, ...], limits: tuple[str, ...], unit: str
) -> tuple[float, float] | None:
    """A level with its threshold as limit. Returns both where both are known."""

    def with_unit(value: str, line: str) -> float | int:
        return number(value, line, unit)

    try:
        level = sheet.number(names, with_unit)
        limit = sheet.number(limits, with_unit)
    except Malformed as error:
        sheet.add(metric, None, str(error), resource=resource)
        return None
    if level is None:
        if limit is not None:
            sheet.add(metric, None, missing(names[0]), resource=resource)
        return None
    sheet.add(metric, level, resource=resource, limit=limit)
    return None if limit is None else (level, limit)


def _identity(sheet: Sheet) -> None:
    sheet.identity(
        "hsm_info",
        {
            "label": ("hsm label",),
            "serial": ("serial #", "serial number"),
            "model": ("hsm model", "hardware model"),
            "firmware": ("firmware", "firmware version"),
            "software": ("software version",),
        },
    )
    sheet.identity("hsm_firmware_info", {"version": ("firmware", "firmware version")})
