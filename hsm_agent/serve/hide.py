"""Names of tokens, serial numbers and firmware versions kept from who may read a view (`serve.hide`).

What is hidden is known by where it was read: a label of the reading that identifies a token, the resource of whatever
is a token, a partition or an HSM. Each such name becomes a pseudonym, the same wherever it stands in the view: as a
resource, a label, a name, within the text of an alarm or an error. It is keyed by a secret in the state directory
(HMAC, RFC 2104), so that a list of likely names tells nothing; who has the same key has the same pseudonyms.

Where it is not sure what a resource is, it is hidden. Names that the operator gave are not: of sources, sinks, rules
and labels. A name that nothing but the text of somebody else has ever told is not known as one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
from typing import TYPE_CHECKING

from hsm_agent.model import AGENT_SOURCE
from hsm_agent.text import harmless, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hsm_agent.model import ActiveAlarm, Labels, Reading
    from hsm_agent.serve.settings import HideKind

PREFIX = "hidden-"

_KINDS: dict[str, HideKind] = {
    "label": "labels",
    "name": "labels",
    "serial": "serials",
    "member": "serials",
    "firmware": "firmware",
    "version": "firmware",
    "bootloader": "firmware",
}
"""Labels of readings that hold what can be hidden, by their name."""
_OTHER_SERIALS = "certificate_"
"""A certificate's serial number is none of an HSM."""
_OTHER_PLACES = ("sensor_", "host_", "certificate_", "declared_", "crl_", "ntls_", "source_", "traps_", "log_")
"""Metrics whose resources are no tokens, partitions or HSMs: parts of an appliance, hosts, files, patterns."""
_OTHERS_WORDS = ("log_", "vendor_", "custom_", "traps_", "trail_")
"""Metrics whose alarms may repeat what a source has written."""
_OTHERS_ALARMS = "fleet_alarms"
"""Whose notes are SOURCE/TOKEN and the text of an alarm of another agent, behind the name of its rule."""
_INFO = "_info"
"""How the names of metrics end whose value is their labels."""
_SLOT = re.compile(r"slot \d+")
_CHANGED = re.compile(r"\b([a-z_]+)=(.*?)(?=, [a-z_]+=| -> )")
"""In the threshold and the text of a change: what was before (`conditions`)."""
_QUOTED = re.compile(r"(?<!\w)(?:'[^']+'|\"[^\"]+\")(?!\w)")
_LONG_NUMBER = re.compile(r"(?<![\w.])\d{6,}(?![\w.])")
_ANYWHERE = 5
"""A name of so many characters is found within words as well; a shorter one as a word of its own."""
_CHARACTERS = 8  # of base32: 40 bits, so that among ten thousand names none are the same
_INDEXED = 3
_KEPT_TEXTS = 16_384


def pseudonym(name: str, key: bytes) -> str:
    """What is shown instead of a name."""
    digest = hmac.new(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return PREFIX + base64.b32encode(digest)[:_CHARACTERS].decode().lower()


class Mask:
    """What one kind of view hides, and the names that it has learnt so far. Without a kind it hides nothing."""

    def __init__(self, hidden: Iterable[HideKind], key: bytes) -> None:
        self.hidden = frozenset(hidden)
        self._hides_names = bool(self.hidden & {"labels", "serials"})
        self._key = key
        self._known: dict[str, str] = {}
        """Hidden names, with what is shown instead."""
        self._unsure: set[str] = set()
        """Those of the known that may be of either kind; forgotten if one is of a kind that is shown."""
        self._shown: set[str] = set()
        """Names of tokens of a kind that is not hidden."""
        self._written: dict[str, str] = {}
        """The ways of writing hidden names, with what is shown instead."""
        self._lengths: dict[str, list[int]] = {}
        """How long those are that begin so, the longest first; a beginning is three characters, or all of fewer."""
        self._texts: dict[str, str] = {}

    def learn(self, readings: Sequence[Reading], alarms: Iterable[ActiveAlarm] = ()) -> bool:
        """Learn the names in them; whether anything is new, so that texts from before have to be made anew."""
        before = (len(self._known), len(self._shown))
        for reading in readings:
            if reading.labels:
                self._learn_labels(reading.metric, reading.labels)
            if reading.hsm:
                self._learn("serials", reading.hsm)
        for reading in readings if self._hides_names else ():
            # The test is in learn_resource as well: nearly every resource is known, and there are tens of thousands.
            if reading.resource not in self._known and reading.resource not in self._shown:
                self.learn_resource(reading.source, reading.resource, reading.metric)
        for alarm in alarms:
            source, resource, metric, labels = alarm.series
            self._learn_labels(metric, labels)
            if metric.endswith(_INFO):
                told = f"{alarm.event.threshold} -> {alarm.event.text}"
                self._learn_labels(metric, (*alarm.event.labels, *_CHANGED.findall(told)))
            self.learn_resource(source, resource, metric)
        return before != (len(self._known), len(self._shown))

    def _learn_labels(self, metric: str, labels: Labels) -> None:
        for name, value in labels:
            kind = _KINDS.get(name)
            if kind is not None and not metric.startswith(_OTHER_SERIALS):
                self._learn(kind, value)

    def learn_resource(self, source: str, resource: str, metric: str) -> None:
        """Where no label has told whether a resource is a label or a serial number, it is hidden with either."""
        if not self._hides_names or resource in self._known or resource in self._shown:
            return
        if is_of_token(source, resource, metric):
            self._unsure.add(resource)
            self._remember(resource)

    def _learn(self, kind: HideKind, value: str) -> None:
        if not value.strip():  # a token without a label goes by its serial number
            return
        if kind in self.hidden:
            self._unsure.discard(value)
            if value not in self._known:
                self._remember(value)
        elif kind != "firmware":
            self._shown.add(value)
            if value in self._unsure:
                self._forget(value)

    def _remember(self, name: str) -> None:
        shown = self._known[name] = pseudonym(name, self._key)
        self._texts.clear()
        for text in _ways_of_writing(name):
            self._written[text] = shown
            lengths = self._lengths.setdefault(text[:_INDEXED], [])
            if len(text) not in lengths:
                lengths.append(len(text))
                lengths.sort(reverse=True)

    def _forget(self, name: str) -> None:
        del self._known[name]
        self._unsure.discard(name)
        self._texts.clear()
        for text in _ways_of_writing(name) - self._known.keys():
            self._written.pop(text, None)

    def name(self, name: str) -> str:
        """A name as it is shown: by itself, if it is not hidden."""
        return self._known.get(name) or self.text(name)

    def text(self, text: str) -> str:
        """A text with each hidden name in it replaced."""
        if not text or not self._written:
            return text
        found = self._texts.get(text)
        if found is None:
            found = self._replaced(text)
            if len(self._texts) >= _KEPT_TEXTS:
                self._texts.clear()
            self._texts[text] = found
        return found

    def foreign_text(self, text: str) -> str:
        """The same of an error or a reason, which may quote what was not understood, and hence never learnt."""
        if not text:
            return text
        shown = self.text(text)
        if self._hides_names:
            shown = _QUOTED.sub(self._quoted, shown)
        return _LONG_NUMBER.sub(self._number, shown) if "serials" in self.hidden else shown

    def note(self, text: str, metric: str) -> str:
        """The same of a note; one on another agent's alarms ends where that names a token that is not known here."""
        if self._hides_names and metric == _OTHERS_ALARMS:
            before, slash, rest = text.partition("/")
            text = f"{before}/…" if slash and rest else text
        return self.foreign_text(text)

    def alarm_text(self, text: str, metric: str, *, is_unknown: bool) -> str:
        """The same of an alarm, where its text holds a reason, a line of a log, or what an appliance says."""
        if is_unknown or metric == _OTHERS_ALARMS:
            return self.note(text, metric)
        shown = self.text(text)
        if self._hides_names and metric.startswith(_OTHERS_WORDS):
            return _QUOTED.sub(self._quoted, shown)
        return shown

    def threshold(self, metric: str, threshold: str) -> str:
        """Of a change, what the labels were before; else a number, which stays one where a token is called by it."""
        return self.text(threshold) if metric.endswith(_INFO) else threshold

    def _quoted(self, found: re.Match[str]) -> str:
        quote, inner = found[0][0], found[0][1:-1]
        return f"{quote}{inner if inner.startswith(PREFIX) else pseudonym(inner, self._key)}{quote}"

    def _number(self, found: re.Match[str]) -> str:
        return pseudonym(found[0], self._key)

    def labels(self, metric: str, labels: Labels) -> Labels:
        """Labels of a reading: known by their name, or text like any other."""
        return tuple((name, self._label(metric, name, value)) for name, value in labels)

    def _label(self, metric: str, name: str, value: str) -> str:
        is_hidden = _KINDS.get(name) in self.hidden and not metric.startswith(_OTHER_SERIALS)
        if not value or not is_hidden:
            return self.name(value)
        return self._known.get(value) or pseudonym(value, self._key)

    def glob(self, glob: str) -> str:
        """The glob of a silence: it may hold half a name."""
        return pseudonym(glob, self._key) if glob != "*" and self._hides_names else glob

    def _replaced(self, text: str) -> str:
        pieces, at, copied = [], 0, 0
        while at < len(text):
            length = self._length_at(text, at)
            if length:
                pieces += [text[copied:at], self._written[text[at : at + length]]]
                copied = at + length
            at += length or 1
        return "".join([*pieces, text[copied:]])

    def _length_at(self, text: str, at: int) -> int:
        """Of the longest name that stands there; 0 where none does."""
        for width in range(_INDEXED, 0, -1):
            for length in self._lengths.get(text[at : at + width], ()):
                end = at + length  # beyond the text's own, a slice would be that of a shorter name
                if end <= len(text) and text[at:end] in self._written and _stands_alone(text, at, end):
                    return length
        return 0


def is_of_token(source: str, resource: str, metric: str) -> bool:
    """Whether a reading may be of a token, a partition or an HSM, so that its resource is one's name."""
    if not resource or source == AGENT_SOURCE or metric.startswith(_OTHER_PLACES):
        return False
    return _SLOT.fullmatch(resource) is None


def _ways_of_writing(name: str) -> set[str]:
    return {name, name.strip(), harmless(name), one_line(name), repr(name)[1:-1]} - {""}


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a name is no part of a longer number, nor, if it is short, of a longer word."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if text[start].isdigit() and re.search(r"(?:\d|\d\.)$", before):
        return False
    if text[end - 1].isdigit() and re.match(r"\.?\d| ?%", after):
        return False
    return end - start >= _ANYWHERE or not (_goes_on(before[-1:]) or _goes_on(after[:1]))


def _goes_on(character: str) -> bool:
    """Whether a word goes on with it; scripts without upper and lower case often put no space between words."""
    return character.isalnum() and unicodedata.category(character) != "Lo"
