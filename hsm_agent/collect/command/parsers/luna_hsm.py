"""What LunaSH prints for `hsm show` and `audit show`, and LunaCM for `audit status`. Pure."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers.text import (
    FactBuilder,
    Fields,
    Malformed,
    ParsedOutput,
    attempts_left,
    check_result,
    count,
    fields_of,
    fill,
    missing,
    number,
    one_line,
    unlike,
    whole_lines,
    yes_or_no,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_ATTEMPTS = "hsm admin login attempts left"
_TAMPER = "hsm tamper state"
_STORAGE = ("maximum hsm storage space (bytes)", "space in use (bytes)", "free space left (bytes)")
_NO_TAMPER = re.compile(r"no tampers?(?:\(s\))?\.?", re.IGNORECASE)
_TAMPERED = re.compile(r"tampers?(?:\(s\))? detected\b.*", re.IGNORECASE)
_ZEROIZED = re.compile(r"\s*(?:[^:]*:)?\s*hsm is zeroized\b", re.IGNORECASE)
_CELSIUS = r"(?:deg(?:rees|\.)?\s*)?c\b\.?"


def parse_hsm_show(text: str) -> ParsedOutput:
    """Readings of `hsm show`. Raises Malformed where the output is not one, or says that the command failed."""
    lines = whole_lines(text)
    check_result(lines)
    builder = FactBuilder(fields_of(lines))
    zeroized = any(_ZEROIZED.match(line) for line in lines)
    _logins(builder, zeroized=zeroized)
    builder.take("hsm_transport_mode", ["secure transport mode"], yes_or_no)
    _tamper(builder, zeroized=zeroized)
    _storage(builder)
    _environment(builder)
    builder.take("audit_role_initialized", ["audit role initialized"], yes_or_no, optional=True)
    builder.take("hsm_partitions", ["number of partitions created"], count, optional=True)
    builder.take("hsm_partitions_max", ["number of partitions allowed"], count, optional=True)
    if builder.empty:
        raise unlike("hsm show", lines)
    _identity(builder)
    return ParsedOutput(facts=tuple(builder.facts))


def _logins(builder: FactBuilder, *, zeroized: bool) -> None:
    labels = [("role", "so")]
    if zeroized:
        builder.add("token_login_attempts_left", None, "the HSM is zeroized", labels=labels)
        return
    builder.take("token_login_attempts_left", [_ATTEMPTS], attempts_left, labels=labels)


def _tamper(builder: FactBuilder, *, zeroized: bool) -> None:
    """Tampered or zeroized: any sign is enough for 1, and 0 needs the HSM's own word."""

    def tampered() -> int:
        signs = builder.number([_TAMPER], _tamper_state), builder.number(["manually zeroized"], yes_or_no)
        if not any(signs) and signs[0] is None:
            raise Malformed(missing(_TAMPER))
        return int(any(signs))

    builder.attempt("hsm_tampered", (lambda: 1) if zeroized else tampered)


def _tamper_state(value: str, line: str) -> int:
    if _NO_TAMPER.fullmatch(value):
        return 0
    if _TAMPERED.fullmatch(value):
        return 1
    raise Malformed(f"no known tamper state: {one_line(line)}")


def _storage(builder: FactBuilder) -> None:
    values: list[float | None] = []
    reason = ""
    for name in _STORAGE:
        try:
            values.append(builder.number([name], count))
            reason = reason or ("" if values[-1] is not None else missing(name))
        except Malformed as error:
            values.append(None)
            reason = str(error)
    total, used, free = values
    fill(builder, "hsm_storage", total, used, free, reason)


def _environment(builder: FactBuilder) -> None:
    """Battery and temperature, which not every model prints, each with the HSM's own threshold."""
    _sensor(
        builder,
        "sensor_celsius",
        "system",
        ("system temp", "system temperature"),
        ("system temp warning threshold", "system temperature warning threshold"),
        _CELSIUS,
    )
    volts = _sensor(
        builder,
        "sensor_volts",
        "battery",
        ("battery voltage",),
        ("battery warning threshold voltage", "battery warning threshold"),
        "v",
    )
    if volts is not None:
        level, threshold = volts
        builder.add("hsm_battery_well", int(level > threshold))


def _sensor(
    builder: FactBuilder, metric: str, resource: str, names: tuple[str, ...], limits: tuple[str, ...], unit: str
) -> tuple[float, float] | None:
    """A level with its threshold as limit. Returns both where both are known."""

    def with_unit(value: str, line: str) -> float | int:
        return number(value, line, unit)

    try:
        level = builder.number(names, with_unit)
        limit = builder.number(limits, with_unit)
    except Malformed as error:
        builder.add(metric, None, str(error), resource=resource)
        return None
    if level is None:
        if limit is not None:
            builder.add(metric, None, missing(names[0]), resource=resource)
        return None
    builder.add(metric, level, resource=resource, limit=limit)
    return None if limit is None else (level, limit)


def _identity(builder: FactBuilder) -> None:
    builder.identity(
        "hsm_info",
        {
            "label": ("hsm label",),
            "serial": ("serial #", "serial number"),
            "model": ("hsm model", "hardware model"),
            "firmware": ("firmware", "firmware version"),
            "software": ("software version",),
        },
    )
    builder.identity("hsm_firmware_info", {"version": ("firmware", "firmware version")})


_RECORDS = re.compile(r"\s*hsm is currently storing\s+([0-9]{1,12})\s+log records?\s*\.?\s*", re.IGNORECASE)
_RECORDS_LIKE = re.compile(r"currently storing", re.IGNORECASE)
_DAEMON_LIKE = re.compile(r"logging daemon", re.IGNORECASE)
_DAEMON = re.compile(r"\s*hsm found logging daemon\s*\.?\s*", re.IGNORECASE)
_CONFIGURED_LIKE = re.compile(r"^(?:(?!logging has\b).)*logging has\b.*\bconfigured", re.IGNORECASE)
_CONFIGURED = re.compile(r"\s*logging has been configured\s*\.?\s*", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not?|never|cannot|unable|fail\w*|without)\b|n't\b", re.IGNORECASE)
_ROLE_NAMES = ("hsm audit role", "hsm auditor")
_ROLE_STATES = {"initialized": 1, "not initialized": 0, "uninitialized": 0}
_SAYS_NOTHING = {"", "logged in", "not logged in", "logged out"}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = re.compile(
    rf"(?:[a-z]{{3}},?\s+)?({'|'.join(_MONTHS)})\s+([0-9][0-9]?)\s+"
    r"([0-9][0-9]):([0-9][0-9]):([0-9][0-9])\s+(?:([a-z]{2,5})\s+)?([0-9]{4})",
    re.IGNORECASE,
)


def parse_audit_show(text: str) -> ParsedOutput:
    """Readings of LunaSH `audit show`. Raises Malformed where it is not one, or says that the command failed."""
    lines = whole_lines(text)
    check_result(lines)
    fields = fields_of(lines)
    builder = FactBuilder(fields)
    _records(builder, lines)
    _statement(builder, lines, "audit_export_working", _DAEMON_LIKE, _says(_DAEMON), "HSM found logging daemon")
    _statement(
        builder, lines, "audit_logging_configured", _CONFIGURED_LIKE, _says(_CONFIGURED), "Logging has been configured"
    )
    _role(builder, fields)
    _clock(builder, fields)
    if builder.empty:
        raise unlike("audit show", lines)
    return ParsedOutput(facts=tuple(builder.facts))


def parse_audit_status(text: str) -> ParsedOutput:
    """Readings of LunaCM `audit status`. Raises Malformed as `parse_show` does."""
    lines = whole_lines(text)
    check_result(lines)
    fields = fields_of(lines)
    builder = FactBuilder(fields)
    _records(builder, lines)
    _role(builder, fields)
    if builder.empty:
        raise unlike("audit status", lines)
    return ParsedOutput(facts=tuple(builder.facts))


def _records(builder: FactBuilder, lines: list[str]) -> None:
    _statement(
        builder, lines, "audit_records", _RECORDS_LIKE, _count, "HSM is currently storing … log records"
    )  # fmt: skip


def _statement(
    builder: FactBuilder,
    lines: list[str],
    metric: str,
    like: re.Pattern[str],
    read: Callable[[str], int],
    wanted: str,
) -> None:
    """The fact of a sentence. One that only resembles what is known has no value; nor have two that differ."""

    def value() -> int:
        found = [line for line in lines if like.search(line)]
        values = {read(line) for line in found}
        if len(values) > 1:
            raise Malformed(f"said twice and not the same: {one_line(found[-1])}")
        if not values:
            raise Malformed(missing(wanted))
        return values.pop()

    builder.attempt(metric, value)


def _count(line: str) -> int:
    found = _RECORDS.fullmatch(line)
    if found is None:
        raise Malformed(f"no number of records: {one_line(line)}")
    return int(found[1])


def _says(sentence: re.Pattern[str]) -> Callable[[str], int]:
    def read(line: str) -> int:
        if sentence.fullmatch(line):
            return 1
        if _NEGATION.search(line):
            return 0
        raise Malformed(f"neither said nor denied: {one_line(line)}")

    return read


def _role(builder: FactBuilder, fields: Fields) -> None:
    """Whether the role is initialised, where the output says that; whether somebody is logged in says nothing of it."""
    for name in _ROLE_NAMES:
        try:
            found = fields.find(name)
        except Malformed as error:
            builder.add("audit_role_initialized", None, str(error))
            return
        state = "" if found is None else found[0].casefold().rstrip(".")
        if found is not None and state not in _SAYS_NOTHING:
            value = _ROLE_STATES.get(state)
            reason = "" if value is not None else f"no known state of the audit role: {one_line(found[1])}"
            builder.add("audit_role_initialized", value, reason)
            return


def _clock(builder: FactBuilder, fields: Fields) -> None:
    """HSM minus host, both as printed in one moment and in one time zone."""

    def offset() -> float:
        found = [fields.find(name) for name in ("hsm time", "host time")]
        if None in found:
            raise Malformed(missing("HSM Time" if found[0] is None else "HOST Time"))
        (hsm, zone), (host, other) = (_time(*each) for each in found if each is not None)
        if zone != other:
            raise Malformed(f"the two times are of different zones: {zone}, {other}")
        return (hsm - host).total_seconds()

    builder.attempt("hsm_clock_offset_seconds", offset)


def _time(value: str, line: str) -> tuple[dt.datetime, str]:
    """A time as `date` prints it in English, and its zone. Not strptime: that depends on the locale."""
    found = _TIME.fullmatch(value)
    if found is not None:
        month, day, hour, minute, second, zone, year = found.groups()
        numbers = (int(year), 1 + _MONTHS.index(month.lower()), int(day), int(hour), int(minute), int(second))
        try:
            return dt.datetime(*numbers, tzinfo=dt.UTC), (zone or "").upper()
        except ValueError:
            raise Malformed(f"no such time: {one_line(line)}") from None
    raise Malformed(f"no time as expected: {one_line(line)}")
