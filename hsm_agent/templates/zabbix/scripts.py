"""The JavaScript that runs in Zabbix's preprocessing: ECMAScript 5, as its Duktape engine takes it.

Without display hints net-snmp shows octets beyond ASCII, and dates, in hexadecimal: `E4 BB 98 E6 AC BE`. To load the
MIB does not help, since snmptrapd shows them so to its Perl whatever is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.model import EventKind
from hsm_agent.templates.objects import NOTIFICATION_NAMES, SEVERITY_WORDS
from hsm_agent.wire.snmp import mib

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.wire.snmp.ber import Oid

_DECODE = r"""
// UTF-8 that net-snmp has shown in hexadecimal. Text that only looks like it has no octet beyond ASCII, and stays.
function text(shown) {
    if (!/^[0-9A-F]{2}([ \r\n]+[0-9A-F]{2})*\s*$/.test(shown) || !/(^|[ \r\n])[89A-F][0-9A-F]/.test(shown)) {
        return shown;
    }
    try {
        return decodeURIComponent(shown.trim().replace(/\s*([0-9A-F]{2})/g, '%$1'));
    } catch (error) {
        return shown;
    }
}
"""

TEXT = f"{_DECODE.lstrip()}return text(value);\n"
"""A text column."""

DATE = r"""// DateAndTime (RFC 2579), in hexadecimal or as its display hint shows it; seconds since the epoch.
var parts, shown = value.trim();
if (/^[0-9A-F]{2}( [0-9A-F]{2})+$/.test(shown)) {
    parts = shown.split(' ').map(function (octet) { return parseInt(octet, 16); });
    parts = [parts[0] * 256 + parts[1]].concat(parts.slice(2));
} else {
    parts = shown.split(/[^0-9]+/).map(Number);
}
if (parts.length < 6 || parts.some(isNaN)) {
    throw 'not a DateAndTime: ' + value;
}
return Math.floor(Date.UTC(parts[0], parts[1] - 1, parts[2], parts[3], parts[4], parts[5]) / 1000);
"""
"""A time; the agent's are UTC."""


_PLACE = r"""    row['{#PLACE}'] = row['{#SOURCE}'] + (row['{#RESOURCE}'] && '/' + row['{#RESOURCE}']);
"""


def discovery(macros: Iterable[str], *, keeps: str = "") -> str:
    """Rows of a discovery: each macro there, empty where its column is absent, and texts decoded.

    Rows with a source and a resource are given `PLACE`, both in one. `keeps` is a condition on `row` that rows have to
    meet.
    """
    macros = tuple(macros)
    place = _PLACE if {"SOURCE", "RESOURCE"} <= set(macros) else ""
    names = ", ".join(f"'{{#{macro}}}'" for macro in macros)
    kept = f".filter(function (row) {{\n    return {keeps};\n}})" if keeps else ""
    return (
        f"{_DECODE.lstrip()}"
        "return JSON.stringify(JSON.parse(value).map(function (row) {\n"
        f"    [{names}].forEach(function (name) {{\n"
        "        row[name] = text(row[name] || '');\n"
        f"    }});\n{place}"
        f"    return row;\n}}){kept});\n"
    )


ALARM_KINDS = (EventKind.RAISED, EventKind.CHANGED, EventKind.CLEARED)
OTHER_KINDS = (EventKind.TEST, EventKind.HEARTBEAT, EventKind.NOTICE)

_NOTIFICATION = r"""
// One line a variable binding; hexadecimal of more than sixteen octets goes on in the next.
var seen = {}, kind = '', name = '', kinds = %(kinds)s, names = %(names)s, words = %(words)s;
value.split('\n').forEach(function (line) {
    var found = line.match(/^\s*(\S+[.]0)\s+(?:=\s+|type=\d+\s+value=)?(.*)$/), object;
    if (!found) {
        if (name && /^\s*([0-9A-F]{2}\s*)+$/.test(line)) {
            seen[name] += ' ' + line.trim();
        }
        return;
    }
    object = found[1].match(/::hsmAlarm([A-Za-z]+)[.]0$|%(objects)s[.](\d+)[.]0$/);
    name = object ? object[1] || names[object[2] - 1] || '' : '';
    if (/(snmpTrapOID|[.]1[.]1[.]4[.]1)[.]0$/.test(found[1])) {
        object = found[2].trim().match(/::(hsm[A-Za-z]+)$|%(notifications)s[.](\d+)$/);
        kind = object ? kinds[object[1] || object[2]] || '' : '';
    } else if (name) {
        seen[name] = found[2];
    }
});
function plain(name) {
    var all = (seen[name] || '').trim(), shown = all.replace(/^[A-Za-z][A-Za-z0-9-]*: /, '').trim();
    if (/^".*"$/.test(shown)) {
        shown = shown.slice(1, -1).replace(/\\(["\\])/g, '$1');
        if (all.charAt(0) !== '"') { // with its type: hexadecimal would be said to be so
            return shown;
        }
    }
    return text(shown).trim();
}
function level() {
    var shown = plain('Severity'), number = shown.match(/\d+/);
    return number ? words[number[0]] || 'indeterminate' : shown || 'indeterminate';
}
if (!kind) {
    throw 'not a notification of HSM-AGENT-MIB';
}
"""

_ALARM = r"""return [
    kind + ' ' + level(),
    'alarmid: ' + plain('AlarmId'),
    'rule: ' + plain('Rule'),
    'source: ' + plain('Source'),
    'resource: ' + plain('Resource'),
    'place: ' + plain('Source') + (plain('Resource') && '/' + plain('Resource')),
    'value: ' + (plain('Value') + ' ' + plain('Unit')).trim(),
    'threshold: ' + plain('Threshold'),
    'agent: ' + plain('AgentName'),
    'runbook: ' + plain('Runbook'),
    'text: ' + plain('Text')
].join('\n');
"""
_OTHER = "return kind + ': ' + plain('Text') + ' (' + plain('AgentName') + ')';\n"


def root_pattern(base: Oid) -> str:
    """The end of the base, however an OID is shown: `.1.3.…9999.4801`, `netSnmpPlaypen.4801`."""
    return f"[.]{base[-1]}"


def notification(base: Oid, *, alarm: bool) -> str:
    """A notification in the log format of Zabbix's receivers, with the MIB loaded or not. It becomes lines."""
    kinds: dict[str, str] = {}
    for kind, (arc, _name) in mib.NOTIFICATIONS.items():
        kinds[NOTIFICATION_NAMES[kind]] = kinds[str(arc[-1])] = kind.name.lower()
    body = _NOTIFICATION % {
        "kinds": _object(kinds),
        "names": "[" + ", ".join(f"'{each.name.removeprefix('hsmAlarm')}'" for each in mib.ALARM) + "]",
        "words": _object({str(number): word for number, word in SEVERITY_WORDS.items()}),
        "objects": root_pattern(base) + "".join(f"[.]{number}" for number in mib.ALARM_ARC),
        "notifications": root_pattern(base) + "[.]0",
    }
    return _DECODE.lstrip() + body.lstrip() + (_ALARM if alarm else _OTHER)


def _object(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"'{name}': '{value}'" for name, value in values.items()) + "}"


def notification_pattern(base: Oid, kinds: Iterable[EventKind]) -> str:
    """What a notification's text is recognised by: its snmpTrapOID, however it is shown."""
    wanted = list(kinds)
    names = "|".join(NOTIFICATION_NAMES[kind] for kind in wanted)
    numbers = "".join(str(mib.NOTIFICATIONS[kind][0][-1]) for kind in wanted)
    return (
        r"(?m)(?:snmpTrapOID|[.]1[.]1[.]4[.]1)[.]0\s.*"
        rf"(?:::(?:{names})|{root_pattern(base)}[.]0[.][{numbers}])\s*$"
    )
