from __future__ import annotations

import contextlib
import time

import pytest

from hsm_agent.collect.command.parsers import PARSERS, REGEX, read
from hsm_agent.collect.command.parsers import text as shell_text
from hsm_agent.collect.command.parsers.text import Malformed
from hsm_agent.settings.regex import compile_pattern


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\r\nb\n", ["a", "b", ""]),
        ("a\rb", ["a", "b"]),
        ("\x1b[2J\x1b[1;31ma\x1b[0m\x1b]0;title\x07b \t\n", ["ab", ""]),
        ("a\x00b\x07c", ["a\x00b\ufffdc"]),
        ("a\tb", ["a  b"]),
    ],
)
def test_lines_lose_what_terminals_add(text: str, lines: list[str]) -> None:
    assert shell_text.lines_of(text) == lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [("a\nb", ["a"]), ("a\nb\n", ["a", "b"]), ("a\nCommand Result : 0", ["a", "Command Result : 0"]), ("", [])],
)
def test_a_last_line_without_an_end_is_left_out_unless_it_is_the_result(text: str, lines: list[str]) -> None:
    assert shell_text.whole_lines(text) == lines


@pytest.mark.parametrize("said", ["Command Result : 0 (Success)", "command result: No Error", " Command Result : 0"])
def test_a_command_that_succeeded(said: str) -> None:
    assert shell_text.check_result(["x", said]) is True


def test_a_command_that_says_nothing_of_its_result() -> None:
    assert shell_text.check_result(["x"]) is False


@pytest.mark.parametrize("said", ["65535 (Luna Shell execution)", "0x30 (CKR_DEVICE_ERROR)", "0 (Suc", "", "00"])
def test_a_command_that_failed(said: str) -> None:
    line = f"Command Result : {said}".strip()

    with pytest.raises(Malformed) as caught:
        shell_text.check_result(["Command Result : 0 (Success)", line])

    assert str(caught.value) == f"the device refused: {line}"


def test_foreign_text_becomes_one_short_line() -> None:
    assert shell_text.one_line(" a\n b\x1b\u202e  c ") == "a b\ufffd\ufffd c"
    assert shell_text.one_line("x" * 100, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("  HSM   Label :  a: b ", ("hsm label", "a: b")),
        ("Key:value", ("key", "value")),
        ("Key:", ("key", "")),
        (": value", None),
        ("no field", None),
    ],
)
def test_a_line_as_a_field(line: str, pair: tuple[str, str] | None) -> None:
    assert shell_text.split_field(line) == pair


def test_a_field_that_stands_twice() -> None:
    fields = shell_text.fields_of(["a: 1", "A : 1", "b: 1", "b: 2"])

    assert fields.find("a") == ("1", "a: 1")
    assert fields.find("c") is None
    assert (fields.text("a"), fields.text("b"), fields.text("c")) == ("1", "", "")
    with pytest.raises(Malformed, match="stands twice with different values: b: 2"):
        fields.find("b")


@pytest.mark.parametrize(
    ("value", "units", "found"),
    [("12", "", 12), ("-1.5", "", -1.5), ("35 deg", "deg|c", 35), ("3.1V", "v", 3.1), ("9" * 18, "", int("9" * 18))],
)
def test_numbers(value: str, units: str, found: float) -> None:
    assert shell_text.number(value, "", units) == found


@pytest.mark.parametrize(
    ("value", "units"), [("", ""), ("12x", ""), ("1e5", ""), ("0x10", ""), ("35", "v"), ("1,5", ""), ("9" * 19, "")]
)
def test_no_numbers(value: str, units: str) -> None:
    with pytest.raises(Malformed, match="no number as expected: the line"):
        shell_text.number(value, "the line", units)


def test_yes_and_no() -> None:
    assert (shell_text.yes_or_no("Yes", ""), shell_text.yes_or_no("no", "")) == (1, 0)
    with pytest.raises(Malformed, match="neither yes nor no: K: true"):
        shell_text.yes_or_no("true", "K: true")


def test_a_line_longer_than_any_shell_prints_is_not_read() -> None:
    assert shell_text.whole_lines("x" * 4096 + "\n") == ["x" * 4096]

    with pytest.raises(Malformed, match="a line has 4097 characters, 4096 are read: xxx"):
        shell_text.whole_lines("x" * 4097 + "\n")


@pytest.mark.parametrize("name", sorted(PARSERS))
@pytest.mark.parametrize("line", ["logging has ", " ", "1", "\x1b]", "\x1b[0", "a:", "deg ", "not "])
def test_no_output_takes_a_parser_long(name: str, line: str) -> None:
    for text in (line * 50_000 + "\n", (line * 300 + "\n") * 6, f"Slot 0 (0x0): {line * 300}\n" * 6):
        began = time.process_time()
        with contextlib.suppress(Malformed):
            PARSERS[name](text)

        assert time.process_time() - began < 0.1


UNREACHABLE = "\nError:  Unable to communicate with HSM.\n        See the manual.\n"
RESULTS = {
    "none": "",
    "refused": "\nCommand Result : 65535 (Luna Shell execution)\n",
    "success": "\nCommand Result : 0 (Success)\n",
}
BANNER = "Authorised use only.\nAll is logged.\n\n"


@pytest.mark.parametrize("result", RESULTS.values(), ids=[*RESULTS])
@pytest.mark.parametrize(
    "before", ["", BANNER, "\x1b[31m", "Available slots:\n"], ids=["bare", "banner", "colour", "heading"]
)
def test_a_refusal_of_any_parser_holds_the_devices_own_words(before: str, result: str) -> None:
    pattern = compile_pattern(r"queue (?P<custom_queue>\d+)")

    for parser in (*PARSERS, REGEX):
        with pytest.raises(Malformed) as caught:
            read(parser, [pattern], (before + UNREACHABLE + result).encode())

        assert "Error: Unable to communicate with HSM. See the manual." in str(caught.value), parser
        assert len(str(caught.value)) < 400, parser
        assert str(caught.value).isprintable(), parser


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Welcome\nlunash:> hsm show\nERROR: HSM is not initialised\n", "ERROR: HSM is not initialised"),
        ("Welcome\n*** Error 5: no route\n", "*** Error 5: no route"),
        ("0 errors\nUnknown command: hsm\n", "0 errors Unknown command: hsm"),
        ("HSM: busy\nError: try later\n", "Error: try later"),
        ("Welcome to the HSM.\nPlease log in first.\n", "Please log in first."),
        ("Welcome\nthe HSM sleeps\nGood night\n", "Welcome … Good night"),
        ("one line\n\n---\n", "one line"),
        ("---\n\n", ""),
        (f"Error: {'x' * 500}\n{'y' * 500}\n", f"Error: {'x' * 72}… {'y' * 79}…"),
    ],
)
def test_what_a_device_says_for_itself(text: str, words: str) -> None:
    assert shell_text.words_of(shell_text.lines_of(text)) == words
