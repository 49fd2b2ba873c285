"""AWS CloudHSM's audit log: events of several lines (or of one), each with a sequence number of its stream. Pure.

It has no hashes. What can be shown is that no event of the stream is missing: numbers begin at 0 and have no gap.
A new HSM has a new stream. Newer events on stored certificates are JSON and have no number.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import zip_longest

from hsm_agent.collect.trails.chain import Chain, ChainState, Entry, seconds_of
from hsm_agent.metrics.tables import SUCCESS

_FIELDS = {
    "time": r"Time",
    "sequence": r"Sequence No",
    "reboots": r"Reboot counter",
    "command": r"Command Type\s*\(hex\)",
    "opcode": r"Opcode",
    "session": r"Session Handle",
    "response": r"Response",
    "log_type": r"Log type",
    "user": r"User Name",
    "user_type": r"User Type",
    "key": r"Priv/Secret Key Handle",
    "public_key": r"Public Key Handle",
}
_ANY_FIELD = "|".join(f"(?P<{name}>{text})" for name, text in _FIELDS.items())
_AT_LINE_START = re.compile(rf"^[ \t]*(?:{_ANY_FIELD})[ \t]*:(?P<value>.*)$", re.MULTILINE | re.IGNORECASE)
_ANYWHERE = re.compile(rf"(?<![\w/])(?:{_ANY_FIELD})\s*:\s*", re.IGNORECASE)
BEGINS = re.compile(rb"^[ \t]*(?:Time\s*:|\{)", re.MULTILINE | re.IGNORECASE)
"""Where an event begins: those before it are complete."""
_USECS = re.compile(r"usecs\s*:\s*([0-9]{1,17})")
_NUMBER = re.compile(r"(?:0x[0-9a-fA-F]{1,16}|[0-9]{1,20})")
_CODED = re.compile(r"([A-Za-z0-9_]+)\s*\(\s*0x[0-9a-fA-F]+\s*\)")
_RESPONSE = re.compile(r"\s*([0-9]{1,10})\s*:?\s*(?:HSM (?:Return|Error)\s*:\s*)?(.*)", re.DOTALL)
_SYMBOL = re.compile(r"[A-Z][A-Z0-9_]*")
_LONGEST_NAME = 64
MICROSECOND = 1e-6
_MILLISECONDS = 1e3


def fields_of(text: str) -> dict[str, str]:
    """The fields of an event by their names in `_FIELDS`. Of a field that stands twice the first counts.

    A user's name can hold anything, the names of fields too; it stands behind everything that is judged.
    """
    found: dict[str, str] = {}
    if text.strip().count("\n") > 0:
        for match in _AT_LINE_START.finditer(text):
            found.setdefault(_field(match), match["value"].strip(" \t\r"))
        return found
    matches = list(_ANYWHERE.finditer(text))
    for match, following in zip_longest(matches, matches[1:]):
        value = text[match.end() : len(text) if following is None else following.start()]
        found.setdefault(_field(match), value.strip(" \t\r\n,"))
    return found


def sequence_number(event: bytes) -> tuple[int, int] | None:
    """The number of an event in its stream, and its HSM's reboot counter; None where it is no event with one."""
    fields = fields_of(event.decode("utf-8", "replace"))
    number = _number(fields.get("sequence", ""))
    return None if number is None or "opcode" not in fields else (number, _number(fields.get("reboots", "")) or 0)


def _field(match: re.Match[str]) -> str:
    return next(name for name in _FIELDS if match[name] is not None)


def _number(text: str) -> int | None:
    found = _NUMBER.match(text.strip())
    return None if found is None else int(found[0], 0 if found[0].lower().startswith("0x") else 10)


class CloudHsmChain(Chain):
    """The sequence numbers of one stream. `newest` and `anchor` are the newest and the first number, in hex."""

    format = "cloudhsm"
    first = "0x0"

    def __init__(self, state: ChainState | None = None, *, follows: str = "") -> None:
        super().__init__(state, follows=follows)
        self._fields: tuple[bytes, dict[str, str]] = (b"", {})

    def feed(self, line: bytes) -> bool:
        """Check the number of the next event."""
        state = self.state
        first_line = state.lines + 1
        state.lines += line.count(b"\n") + 1
        if line.lstrip().startswith(b"{"):
            return self._certificate_event(line)
        fields = self._read(line)
        sequence, reboots = _number(fields.get("sequence", "")), _number(fields.get("reboots", ""))
        if sequence is None or "opcode" not in fields:
            return self._refuse(line)
        state.entries += 1
        before, _, reboots_before = state.newest.partition("/")
        if not before:
            state.anchor = f"{sequence:#x}"
        elif sequence != int(before, 16) + 1 and not self._began_anew(sequence, reboots, reboots_before):
            last, state.lines = state.lines, first_line
            self._break(f"{int(before, 16) + 1:#x}", f"{sequence:#x}")
            state.lines = last
        state.newest = f"{sequence:#x}/{'' if reboots is None else f'{reboots:#x}'}"
        return True

    @staticmethod
    def following(newest: str) -> str:
        """The number that is next in the stream."""
        return f"{int(newest.partition('/')[0], 16) + 1:#x}"

    @staticmethod
    def _began_anew(sequence: int, reboots: int | None, before: str) -> bool:
        """Whether the HSM counts from 0 again because it was started again."""
        return sequence == 0 and reboots is not None and bool(before) and reboots > int(before, 16)

    def _certificate_event(self, line: bytes) -> bool:
        try:
            self.decode(line)
        except ValueError:
            return self._refuse(line)
        self.state.entries += 1
        return True

    def _read(self, line: bytes) -> dict[str, str]:
        """The fields; an event is verified and decoded one after the other, and read once."""
        if self._fields[0] is not line:
            self._fields = (line, fields_of(line.decode("utf-8", "replace")))
        return self._fields[1]

    def decode(self, line: bytes) -> Entry:
        """What the event records."""
        if line.lstrip().startswith(b"{"):
            return _certificate_entry(line)
        fields = self._read(line)
        if "opcode" not in fields:
            raise ValueError("no Opcode")
        usecs = _USECS.search(fields.get("time", ""))
        return Entry(
            time=int(usecs[1]) * MICROSECOND if usecs is not None else _clock(fields.get("time", "")),
            operation=_coded(fields["opcode"]),
            result=_result(fields.get("response", "")),
            session=fields.get("session", ""),
            detail=fields.get("user", "")[:_LONGEST_NAME],
        )

    def knows(self, number: int, event: bytes) -> bool:
        """Whether an event of that number was taken before, of this start of the HSM or an earlier one."""
        before, _, reboots_before = self.state.newest.partition("/")
        if not before:
            return False
        reboots = _number(self._read(event).get("reboots", ""))
        if reboots is not None and reboots_before and reboots != int(reboots_before, 16):
            return reboots < int(reboots_before, 16)
        return number <= int(before, 16)

    def follows(self, number: int, event: bytes) -> bool:
        """Whether an event of that number is the next one."""
        before, _, reboots_before = self.state.newest.partition("/")
        if not before or number == int(before, 16) + 1:
            return True
        return self._began_anew(number, _number(self._read(event).get("reboots", "")), reboots_before)

    @property
    def reboots(self) -> int | None:
        """The newest event's reboot counter."""
        return _number(self.state.newest.partition("/")[2])


def _clock(text: str) -> float | None:
    """UTC seconds of `MM/DD/YY HH:MM:SS.ffffff`."""
    try:
        return datetime.strptime(text.partition(",")[0].strip(), "%m/%d/%y %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _coded(text: str) -> str:
    """`CN_LOGIN (0xd)` → `CN_LOGIN`."""
    found = _CODED.match(text)
    return (found[1] if found is not None else text.strip())[:_LONGEST_NAME]


def _result(text: str) -> str:
    """`0:HSM Return: SUCCESS` → `SUCCESS`, `163:HSM Error: RET_USER_LOGIN_FAILURE` → its symbol, else `error N`."""
    found = _RESPONSE.fullmatch(text)
    if found is None:
        return text.strip()[:_LONGEST_NAME] or "no response"
    if int(found[1]) == 0:
        return SUCCESS
    symbol = _SYMBOL.fullmatch(found[2].strip())
    return symbol[0][:_LONGEST_NAME] if symbol is not None else f"error {found[1]}"


def _certificate_entry(line: bytes) -> Entry:
    try:
        raw = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(raw, dict) or "op_code" not in raw:
        raise ValueError("no op_code")
    response = str(raw.get("response", ""))
    return Entry(
        time=seconds_of(raw.get("timestamp"), _MILLISECONDS),
        operation=str(raw["op_code"])[:_LONGEST_NAME],
        result=SUCCESS if response.upper() in {"SUCCESS", "OK", "0"} else response[:_LONGEST_NAME] or "no response",
    )
