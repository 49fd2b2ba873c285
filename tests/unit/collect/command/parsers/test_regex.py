from __future__ import annotations

import pytest

from hsm_agent.collect.command.parsers.regex import compiled, parse
from hsm_agent.collect.command.parsers.text import MOST_FACTS, Malformed, ParsedOutput


def read(text: str, *patterns: str) -> dict[tuple[str, str], float | int | None]:
    return {(fact.resource, fact.metric): fact.value for fact in whole(text, *patterns).facts}


def whole(text: str, *patterns: str) -> ParsedOutput:
    return parse(text, [compiled(pattern) for pattern in patterns])


def test_groups_are_metrics() -> None:
    text = "queue 17 of 100\r\nload: 3.5 %"

    assert read(text, r"queue (?P<custom_queue>\d+) of (?P<custom_queue_max>\d+)", r"load: (?P<hsm_load_percent>\S+)") == {
        ("", "custom_queue"): 17,
        ("", "custom_queue_max"): 100,
        ("", "hsm_load_percent"): 3.5,
    }  # fmt: skip


def test_a_group_called_resource_says_whose_they_are() -> None:
    text = "fan A 4000\nfan B 4100\nfan C stopped\n"

    assert read(text, r"fan (?P<resource>\w+) (?P<sensor_fan_rpm>\S+)") == {
        ("A", "sensor_fan_rpm"): 4000,
        ("B", "sensor_fan_rpm"): 4100,
        ("C", "sensor_fan_rpm"): None,
    }


def test_a_pattern_that_no_line_fits_is_an_unavailable_reading() -> None:
    parsed = whole("a 1\n", r"a (?P<custom_a>\d)", r"b (?P<custom_b>\d)")

    assert [(fact.metric, fact.reason) for fact in parsed.facts if fact.value is None] == [
        ("custom_b", r"no line of the output fits b (?P<custom_b>\d)")
    ]


@pytest.mark.parametrize(
    ("text", "value"), [("a 1\na 1\n", 1), ("a 1\na 2\n", None), ("a 1\na 2\na 2\n", None), ("a x\na 1\n", 1)]
)
def test_lines_that_do_not_say_the_same_leave_no_value(text: str, value: int | None) -> None:
    assert read(f"{text}ok 1\n", r"a (?P<custom_a>\w)", r"ok (?P<custom_ok>\d)")["", "custom_a"] == value


@pytest.mark.parametrize("said", ["", "1e5", "0x10", "1,5", "12 ", "٣", "9" * 19])
def test_only_plain_numbers_are_values(said: str) -> None:
    found = whole(f"a={said};\nb=1\n", r"a=(?P<custom_a>[^;]*);", r"b=(?P<custom_b>\d)")

    assert [fact.value for fact in found.facts] == [None, 1]
    assert found.facts[0].reason.startswith("no number in the group custom_a: a=")


def test_a_group_that_takes_no_part_is_no_value() -> None:
    found = read("a\nb 1\n", r"a(?P<custom_a> \d)?|b (?P<custom_b>\d)")

    assert found == {("", "custom_a"): None, ("", "custom_b"): 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("what\n", "no pattern fits the output; it says: what"),
        ("a 1\nCommand Result : 5 (no)\n", "the device refused"),
    ],
)
def test_an_output_that_fits_nothing_fails_as_a_whole(text: str, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        whole(text, r"a (?P<custom_a>\d+)")

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "not a pattern: missing ): ("),
        ("(?=a)(?P<custom_a>a)", "there is no looking ahead"),
        ("queue ([0-9]+)", "a pattern needs a named group for each metric"),
        ("(?P<resource>x)", "a pattern needs a named group"),
        ("(?P<queue>x)", "no metric is called 'queue'"),
    ],
)
def test_patterns_that_are_refused(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        compiled(pattern)

    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["1" * 60, "1" * 100_000, "x\n" * 1000 + "1" * 60 + "\n"])
def test_a_line_that_a_pattern_almost_fits_holds_nothing_up(text: str) -> None:
    with pytest.raises(Malformed, match="no pattern fits the output"):
        whole(text, r"^(?:\w|\d\d)+: (?P<custom_a>\d+)$")


def test_time_that_is_up_is_said() -> None:
    turns = iter([False] * 5)

    with pytest.raises(Malformed) as caught:
        parse("a 1\nb 2\nc 3\n", [compiled(r"(?P<custom_a>\d)"), compiled(r"b (?P<custom_b>\d)")], lambda: next(turns, True))  # fmt: skip

    assert str(caught.value) == r"no time is left at line 2 of 4 for b (?P<custom_b>\d)"


def test_what_would_fill_every_table_is_refused_before_memory_is_full() -> None:
    text = "".join(f"{n} 1\n" for n in range(3 * MOST_FACTS))

    with pytest.raises(Malformed, match=f"{MOST_FACTS + 1} readings"):
        whole(text, r"(?P<resource>\d+) (?P<custom_a>\d)")
