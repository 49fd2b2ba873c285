"""Process logs: what a line says, which patterns are found in it, and that each line counts once."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.base import CollectorContext, SourceFailure
from hsm_agent.collect.logs.patterns import CRATON, LONGEST_QUOTE, parse_line
from hsm_agent.collect.logs.source import ProcessLogCollector, ProcessLogSettings
from hsm_agent.settings.regex import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _settings(path: Path, **keys: Any) -> ProcessLogSettings:
    return ProcessLogSettings.model_validate({"name": "log", "kind": "process_log", "path": str(path), **keys})


def _collector(tmp_path: Path, **keys: Any) -> ProcessLogCollector:
    (tmp_path / "state").mkdir(exist_ok=True)
    keys = keys or {"shipped": "craton"}
    return ProcessLogCollector(
        _settings(tmp_path / "c.log", **keys), CollectorContext(state_directory=tmp_path / "state")
    )


async def _matches(collector: ProcessLogCollector) -> dict[str, tuple[float | int | None, str]]:
    poll = await collector.poll()
    found = [each for each in poll.readings if each.metric == "log_matches_total"]
    return {dict(each.labels)["pattern"]: (each.value, each.note) for each in found}


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("2026-11-29T00:00:00Z ERROR craton_hsm: self-test failed", "ERROR", None),
        ("\x1b[2m2026-11-29T00:00:00Z\x1b[0m \x1b[33m WARN\x1b[0m a: b", "WARN", "2026-11-29T00:00:00Z  WARN a: b"),
        ("no level at all", "", None),
        ('{"timestamp":"t","level":"WARN","fields":{"message":"mlock failed"},"target":"x"}', "WARN", "mlock failed"),
        ('{"level":"warning","message":"as other loggers"}', "WARN", "as other loggers"),
        ('{"level":7,"fields":[]}', "", None),
        ('{"broken', "", None),
    ],
)
def test_a_line_is_plain_text_or_json(line: str, level: str, message: str | None) -> None:
    found = parse_line(line.encode())

    assert (found.level, found.message) == (level, line if message is None else message)


def test_a_quote_is_short_and_harmless() -> None:
    quote = parse_line(b"ERROR \x1b]0;title\x07" + b"\xe2\x80\xae" + b"x" * 5000).quote

    assert len(quote) <= LONGEST_QUOTE
    assert quote.isprintable() or "\ufffd" in quote
    assert "\x1b" not in quote


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ERROR power-on self-test failed: AES KAT mismatch", "self-test"),
        ("ERROR DRBG health test failed", "drbg"),
        ("ERROR failed audit log: cannot open /var/log/audit.jsonl: permission denied", "audit-open"),
        ("WARN AES-GCM per-key count at 75% \u2014 schedule key rotation", "nonce-counter-75"),
        ("WARN AES-GCM per-key count at 95%", "nonce-counter-95"),
        ("WARN mlock failed for 32 byte key buffer: EPERM", "memory-lock"),
        ("ERROR TLS reload failed: no certificate", "tls-reload"),
        ("ERROR server certificate has expired", "certificate-expired"),
        ("WARN mTLS enabled but no CRL configured", "crl"),
        ("ERROR object store: I/O error", "object-store"),
    ],
)
def test_each_shipped_pattern_finds_its_line_and_is_alone(line: str, name: str) -> None:
    read = parse_line(line.encode())
    found = [
        each.name for each in CRATON if read.is_at_least(each.level) and compile_pattern(each.regex).fits(read.message)
    ]

    assert found == [name]


def test_what_was_written_at_a_lower_level_does_not_count() -> None:
    read = parse_line(b'{"level":"INFO","fields":{"message":"certificate is not expired"}}')

    assert not any(read.is_at_least(each.level) and compile_pattern(each.regex).fits(read.message) for each in CRATON)


async def test_a_log_is_read_from_its_end_on_and_each_line_once(tmp_path: Path) -> None:
    log = tmp_path / "c.log"
    log.write_text("ERROR DRBG health test failed\n")
    collector = _collector(tmp_path)
    assert (await _matches(collector))["drbg"] == (0, "")
    with log.open("a") as file:
        file.write("ERROR DRBG health test failed\nERROR DRBG health")
    assert (await _matches(collector))["drbg"] == (1, "ERROR ERROR DRBG health test failed")
    with log.open("a") as file:
        file.write(" test failed again\n")
    after = _collector(tmp_path)
    assert (await _matches(after))["drbg"][0] == 2
    log.rename(tmp_path / "c.log.1")
    log.write_text("ERROR entropy source: error\n")
    assert (await _matches(after))["drbg"] == (3, "ERROR ERROR entropy source: error")
    log.write_text("")
    assert await _matches(after) == {}


async def test_a_log_that_comes_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    collector = _collector(tmp_path, patterns=[{"name": "word", "regex": "w[o]rd", "severity": "critical"}])
    assert await _matches(collector) == {"word": (0, "")}
    (tmp_path / "c.log").write_text(json.dumps({"level": "ERROR", "fields": {"message": "a word"}}) + "\n")
    poll = await collector.poll()

    assert [(each.value, each.note, each.labels) for each in poll.readings if each.metric == "log_matches_total"] == [
        (1, "ERROR a word", (("pattern", "word"), ("severity", "critical")))
    ]


async def test_a_log_that_cannot_be_read_is_a_failure_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "c.log").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "c.log" / "x").touch()
    settings = _settings(tmp_path / "c.log" / "x" / "y", shipped="craton")
    with pytest.raises(SourceFailure, match="Not a directory"):
        await ProcessLogCollector(settings, CollectorContext(state_directory=tmp_path / "state")).poll()


async def test_a_log_that_comes_later_and_is_rotated_at_once_is_read_whole(tmp_path: Path) -> None:
    collector = _collector(tmp_path)
    await _matches(collector)
    (tmp_path / "c.log.1").write_text("ERROR DRBG health test failed\n")
    (tmp_path / "c.log").write_text("ERROR DRBG health test failed again\n")

    assert (await _matches(collector))["drbg"][0] == 2


async def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path) -> None:
    collector = _collector(tmp_path)
    (tmp_path / "state" / "log-log.json").write_text("[]")
    await collector.poll()

    assert [path.name for path in (tmp_path / "state").glob("*.damaged-*")]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "patterns: there is none"),
        ({"patterns": [{"name": "A b", "regex": "x"}]}, "patterns.0.name"),
        ({"patterns": [{"name": "a", "regex": "("}]}, "patterns.0.regex"),
        ({"patterns": [{"name": "a", "regex": "x"}] * 2}, "two have one name"),
        ({"shipped": "other"}, "shipped"),
    ],
)
def test_bad_patterns_are_refused(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _settings(tmp_path / "x", **keys)


def test_a_pattern_of_ones_own_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    settings = _settings(tmp_path / "x", shipped="craton", patterns=[{"name": "drbg", "regex": "x"}])

    assert [each.regex for each in settings.log_patterns() if each.name == "drbg"] == ["x"]
    assert len(settings.log_patterns()) == len(CRATON)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
async def test_what_is_no_file_is_an_error_of_the_source(tmp_path: Path, make: Callable[[Path], None]) -> None:
    collector = _collector(tmp_path)
    make(tmp_path / "c.log")

    with pytest.raises(SourceFailure, match="not a regular file"):
        await collector.poll()


async def test_lines_are_searched_where_no_checkpoint_can_be_kept(tmp_path: Path) -> None:
    collector = _collector(tmp_path)
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    (tmp_path / "c.log").touch()
    poll = await collector.poll()

    assert poll.errors == ("the checkpoint cannot be kept: No such file or directory",)


async def test_no_line_is_missed_where_what_was_read_was_rotated_away(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    keys = {"patterns": [{"name": "x", "regex": "line"}]}
    await _collector(tmp_path, **keys).poll()
    path.write_text("line 1\n")
    os.utime(path, (1e9, 1e9))
    assert (await _matches(_collector(tmp_path, **keys)))["x"][0] == 1
    path.write_text("other\n")  # a file of before that was read, too
    path.rename(tmp_path / "c.log.3")
    os.utime(tmp_path / "c.log.3", (1e9 - 60, 1e9 - 60))
    for name, number in (("c.log.2", 2), ("c.log.1", 3), ("c.log", 4)):
        (tmp_path / name).write_text(f"line {number}\n")

    collector = _collector(tmp_path, **keys)
    while (await collector.poll()).next_in_seconds == 0:
        pass
    assert (await _matches(_collector(tmp_path, **keys)))["x"][0] == 4
