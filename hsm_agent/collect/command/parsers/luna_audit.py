"""What LunaSH prints for `audit show`, and LunaCM for `audit status`. Pure."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers.facts import Sheet, missing, unlike
from hsm_agent.collect.command.parsers.text import (
    Fields,
    Malformed,
    Parsed,
    check_result,
    fields_of,
    one_line,
    whole_lines,
)

if TYPE_CHECKING:
    from collections.abc import Callable

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


def parse_show(text: str) -> Parsed:
    """Readings of LunaSH `audit show`. Raises Malformed where it is not one, or says that the command failed."""
    lines = whole_lines(text)
    check_result(lines)
    fields = fields_of(lines)
    sheet = Sheet(fields)
    _records(sheet, lines)
    _statement(sheet, lines, "audit_export_working", _DAEMON_LIKE, _says(_DAEMON), "HSM found logging daemon")
    _statement(
        sheet, lines, "audit_logging_configured", _CONFIGURED_LIKE, _says(_CONFIGURED), "Logging has been configured"
    )
    _role(sheet, fields)
    _clock(sheet, fields)
    if sheet.empty:
        raise unlike("audit show", lines)
    return Parsed(facts=tuple(sheet.facts))


def parse_status(text: str) -> Parsed:
    """Readings of LunaCM `audit status`. Raises Malformed as `parse_show` does."""
    lines = whole_lines(text)
    check_result(lines)
    fields = fields_of(lines)
    sheet = Sheet(fields)
    _records(sheet, lines)
    _role(sheet, fields)
    if sheet.empty:
        raise unlike("audit status", lines)
    return Parsed(facts=tuple(sheet.facts))


def _records(sheet: Sheet, lines: list[str]) -> None:
    _statement(
        sheet, lines, "audit_records", _RECORDS_LIKE, _count, "HSM is currently storing … log records"
    )  # fmt: skip


def _statement(
    sheet: Sheet,
    lines: list[str],
    metric: str,
    like: re.Pattern[str],
    read: Callable[[str], int],
    wanted: str,
) -> None:
    """The fact of a sentence. One that only resembles what is known has no value; nor have two that differ."""
    said = [line for line in lines if like.search(line)]
    try:
        values = {read(line) for line in said}
    except Malformed as error:
        sheet.add(metric, None, str(error))
        return
    if len(values) > 1:
        sheet.add(metric, None, f"said twice and not the same: {one_line(said[-1])}")
    elif not values:
        sheet.add(metric, None, missing(wanted))
    else:
        sheet.add(metric, values.pop())


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


def _role(sheet: Sheet, fields: Fields) -> None:
    """Whether the role is initialised, where the output says that; whether somebody is logged in says nothing of it."""
    for name in _ROLE_NAMES:
        try:
            found = fields.find(name)
        except Malformed as error:
            sheet.add("audit_role_initialized", None, str(error))
            return
        state = "" if found is None else found[0].casefold().rstrip(".")
        if found is not None and state not in _SAYS_NOTHING:
            value = _ROLE_STATES.get(state)
            reason = "" if value is not None else f"no known state of the audit role: {one_line(found[1])}"
            sheet.add("audit_role_initialized", value, reason)
            return


def _clock(sheet: Sheet, fields: Fields) -> None:
    """HSM minus host, both as printed in one moment and in one time zone."""
    try:
        found = [fields.find(name) for name in ("hsm time", "host time")]
        if None in found:
            sheet.add("hsm_clock_offset_seconds", None, missing("HSM Time" if found[0] is None else "HOST Time"))
            return
        hsm, host = (_time(*each) for each in found if each is not None)
    except Malformed as error:
        sheet.add("hsm_clock_offset_seconds", None, str(error))
        return
    if hsm[1] != host[1]:
        sheet.add("hsm_clock_offset_seconds", None, f"the two times are of different zones: {hsm[1]}, {host[1]}")
    else:
        sheet.add("hsm_clock_offset_seconds", (hsm[0] - host[0]).total_seconds())


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
