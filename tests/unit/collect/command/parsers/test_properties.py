"""Whatever becomes of an output on its way: a parser refuses it or reads what stands there, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_agent.collect.command.parsers import PARSERS
from hsm_agent.collect.command.parsers.text import Malformed, lines_of
from tests.fakes.examples import chosen, examples
from tests.unit.collect.shell_samples import SAMPLES, read, sample

if TYPE_CHECKING:
    from hsm_agent.collect.command.parsers.text import ParsedOutput
    from hsm_agent.collect.series import Fact

_DIGITS = re.compile(r"(?<![\d.])\d+(?:\.\d+)?(?![\d]|\.\d)")
_STATES = {
    "token_present", "token_initialized", "token_role_locked", "token_zeroized", "hsm_tampered", "hsm_transport_mode",
    "hsm_battery_well", "hsm_operational", "hsm_trouble", "sensor_well", "audit_role_initialized",
    "audit_logging_configured", "audit_export_working",
}  # fmt: skip


def parsed(parser: str, text: str) -> ParsedOutput | None:
    try:
        return PARSERS[parser](text)
    except Malformed as error:
        assert str(error)
        assert len(str(error).splitlines()) == 1
        return None


def check(fact: Fact, text: str, facts: tuple[Fact, ...]) -> None:
    """A fact has a value that stands in the text, or a reason."""
    assert (fact.value is None) == bool(fact.reason), fact
    if fact.value is None or fact.metric == "hsm_clock_offset_seconds":
        return
    if fact.metric.endswith("_info"):
        assert fact.value == 1
    elif fact.metric in _STATES:
        assert fact.value in {0, 1}
    elif fact.metric.endswith("_used_percent"):
        same = {other.metric: other.value for other in facts if other.resource == fact.resource}
        prefix = fact.metric.removesuffix("_used_percent")
        assert fact.value == 100 * (same[f"{prefix}_used_bytes"] or 0) / (same[f"{prefix}_total_bytes"] or 0)
    elif fact.metric == "token_login_attempts_left" and fact.value == 0:
        assert re.search(r"none|\b0\b", text, re.IGNORECASE)
    else:
        assert abs(fact.value) in {float(digits) for line in lines_of(text) for digits in _DIGITS.findall(line)}, fact


@pytest.mark.parametrize("name", SAMPLES)
def test_an_output_cut_anywhere_never_says_anything_else(name: str) -> None:
    text, parser = sample(name), SAMPLES[name]
    full = {
        (fact.resource, fact.metric, fact.metric.endswith("_info") or fact.labels): fact for fact in read(name).facts
    }

    for end in chosen(range(len(text)), 7):
        cut = parsed(parser, text[:end])
        for fact in cut.facts if cut else ():
            if fact.value is not None:
                whole = full[fact.resource, fact.metric, fact.metric.endswith("_info") or fact.labels]
                assert (fact.value, fact.limit in {None, whole.limit}) == (whole.value, True), text[:end][-80:]
                assert set(fact.labels) <= set(whole.labels)


_NOISE = st.text(st.sampled_from("0123456789.,:|=-% \t\r\n()\x00\x1b[2JabcHSMno\ufffd\u0661\u2028"), max_size=12)
_EDITS = st.lists(
    st.tuples(st.sampled_from(["delete", "insert", "replace", "double", "move", "cut"]), st.floats(0, 1), st.integers(1, 60), _NOISE),
    min_size=1,
    max_size=6,
)  # fmt: skip


def edited(text: str, edits: list[tuple[str, float, int, str]]) -> str:
    for what, where, length, noise in edits:
        at = int(where * len(text))
        lines = text.split("\n")
        number = int(where * (len(lines) - 1))
        match what:
            case "delete":
                text = text[:at] + text[at + length :]
            case "insert":
                text = text[:at] + noise + text[at:]
            case "replace":
                text = text[:at] + noise + text[at + len(noise) :]
            case "double":
                text = "\n".join([*lines[: number + 1], *lines[number:]])
            case "move":
                text = "\n".join([*lines[:number], *lines[number + 1 :], lines[number]])
            case _:
                text = text[:at]
    return text


@settings(max_examples=examples(300, 40), deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), _EDITS)
def test_a_mutated_output_is_refused_or_read_as_it_stands(name: str, edits: list[tuple[str, float, int, str]]) -> None:
    text = edited(sample(name), edits)
    found = parsed(SAMPLES[name], text)

    for fact in found.facts if found else ():
        check(fact, text, found.facts if found else ())


@settings(max_examples=examples(200, 40), deadline=None)
@given(st.sampled_from(sorted(PARSERS)), st.one_of(st.text(max_size=400), st.binary(max_size=400)))
def test_anything_at_all_is_read_or_refused(parser: str, data: str | bytes) -> None:
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    found = parsed(parser, text)

    for fact in found.facts if found else ():
        check(fact, text, found.facts if found else ())


@pytest.mark.parametrize("name", SAMPLES)
def test_another_commands_output_is_no_reading_of_this_one(name: str) -> None:
    """What two commands have in common is the identity, and the audit store's."""
    shared = {"audit_records", "audit_role_initialized"}
    for other, parser in SAMPLES.items():
        if parser != SAMPLES[name]:
            found = parsed(parser, sample(name))
            values = {fact.metric for fact in found.facts if fact.value is not None} if found else set()
            assert values <= shared, other
