from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent import log

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("hsm_agent")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    root.handlers = []  # set_up() closes those it finds, and these are pytest's
    yield
    logging.captureWarnings(capture=False)
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def _said(capfd: pytest.CaptureFixture[str]) -> Any:
    assert log.flush(5.0)
    return capfd.readouterr()


def test_a_record_is_one_line_of_text(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("info", "text")

    logging.getLogger("hsm_agent.collect.runner").warning("source %s is down", "luna-a")

    said = _said(capfd)
    assert said.out == ""
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARN  collect\.runner: source luna-a is down\n", said.err
    )


def test_a_record_is_one_object_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("info", "json")

    logging.getLogger("hsm_agent.spool").error("disk of %s is full", "größe")

    entry = json.loads(_said(capfd).err)
    assert entry.pop("time").endswith("Z")
    assert entry == {"level": "error", "room": "spool", "message": "disk of größe is full"}


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("foreign", ["a\nb", "a\r\nb", "\x1b[31mred", "\u2028", "\x00", "\x9b31m", "bad\udc80"])
def test_foreign_text_forges_no_line_and_commands_no_terminal(
    capfd: pytest.CaptureFixture[str], form: str, foreign: str
) -> None:
    log.set_up("info", "json" if form == "json" else "text")

    logging.getLogger("hsm_agent.collect").info("label: %s", foreign)

    said = _said(capfd).err
    assert said.endswith("\n")
    assert said[:-1].isprintable()


def fail(words: str) -> None:
    raise ValueError(words)


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_an_exception_says_forges_no_line(capfd: pytest.CaptureFixture[str], form: str) -> None:
    log.set_up("info", "json" if form == "json" else "text")
    forged = "x\x1b[2J\n2026-01-01T00:00:00.000Z INFO  agent: all is well\x1b[2J"

    try:
        fail(forged)
    except ValueError:
        logging.getLogger("hsm_agent.collect").exception("a bug")

    first, *others = _said(capfd).err.splitlines()
    assert "a bug" in first
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" not in "".join((first, *others))
    assert "all is well" in "".join((first, *others))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_the_agents_own(capfd: pytest.CaptureFixture[str], level: str, expected: list[str]) -> None:
    log.set_up(level, "json")

    for name in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("hsm_agent.agent"), name)("x")

    assert [json.loads(line)["level"] for line in _said(capfd).err.splitlines()] == expected


def test_libraries_speak_from_warning_on(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("debug", "text")

    logging.getLogger("library.server").info("chatter")
    logging.getLogger("library.server").warning("trouble")

    assert [line[25:] for line in _said(capfd).err.splitlines()] == ["WARN  library.server: trouble"]


def test_python_warnings_are_records_too(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("info", "text")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)

    said = _said(capfd).err
    assert "py.warnings: " in said
    assert "old thing" in said


def test_setting_up_again_changes_the_form_and_doubles_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("info", "text")
    log.set_up("info", "json")

    logging.getLogger("hsm_agent.agent").info("once")

    (line,) = _said(capfd).err.splitlines()
    assert json.loads(line)["message"] == "once"


@pytest.mark.parametrize(("text", "expected"), [("plain", "plain"), ("größe 5 %", "größe 5 %"), ("a\tb", "a\\tb")])
def test_only_what_cannot_be_seen_is_escaped(text: str, expected: str) -> None:
    assert log.one_line(text) == expected


class _Minutes:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_repeated_is_a_line_a_minute_for_each_peer_and_says_how_much_it_held_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = _Minutes()
    sparing = log.SparingLog(logging.getLogger("hsm_agent.agent.control_socket"), clock=clock)
    with caplog.at_level(logging.WARNING, "hsm_agent.agent.control_socket"):
        logging.getLogger().addHandler(caplog.handler)
        told = [sparing.warning("refused uid %d", 7, peer="7") for _ in range(100)]
        sparing.warning("refused uid %d", 8, peer="8")
        clock.now = 60.0
        sparing.warning("refused uid %d", 7, peer="7")

    assert told == [True] + [False] * 99
    assert caplog.messages == ["refused uid 7", "refused uid 8", "refused uid 7 (99 more since the last such line)"]


def test_ever_new_peers_fill_neither_the_log_nor_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    clock = _Minutes()
    sparing = log.SparingLog(logging.getLogger("hsm_agent.agent.control_socket"), most_peers=4, clock=clock)
    with caplog.at_level(logging.WARNING, "hsm_agent.agent.control_socket"):
        logging.getLogger().addHandler(caplog.handler)
        for number in range(1000):
            sparing.warning("refused %d", number, peer=str(number))
        clock.now = 61.0
        sparing.warning("refused %d", 2000, peer="2000")

    assert caplog.messages == [*(f"refused {number}" for number in range(5)), "refused 2000"]
    assert len(sparing._logged_at) == 1


def test_what_python_itself_would_write_is_a_record(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    log.set_up("info", "text")
    log.catch_stray_errors()
    error = ValueError("in a destructor")

    sys.excepthook(ValueError, ValueError("at the end"), None)
    sys.unraisablehook(
        SimpleNamespace(exc_type=ValueError, exc_value=error, exc_traceback=None, err_msg=None, object=None)
    )
    log.say("the last line")

    said = _said(capfd).err.splitlines()
    assert [line.partition("Z ")[2] for line in said if "Z " in line] == [
        "ERROR log: the agent ends with a bug",
        "ERROR log: a bug that nothing waits for: in a destructor",
    ]
    assert {"    ValueError: at the end", "    ValueError: in a destructor"} < set(said)
    assert said[-1] == "the last line"
