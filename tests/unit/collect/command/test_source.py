"""Settings and bookkeeping of `kind: command`. With commands: tests/integration/test_command.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.command.parsers.text import ParsedOutput
from hsm_agent.collect.command.source import CommandCollector, CommandSettings
from hsm_agent.collect.series import Fact
from hsm_agent.config.tree import load
from hsm_agent.settings.errors import ConfigError
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from pathlib import Path

RUN = {"command": ["sh", "hsm", "show"], "parser": "lunash-hsm-show"}


def settings(base: Path | None = None, **keys: Any) -> CommandSettings:
    context = None if base is None else {"base": base}
    return CommandSettings.model_validate({"name": "a", "kind": "command", "runs": [RUN], **keys}, context=context)


def test_defaults() -> None:
    made = settings()

    assert (made.every, made.timeout, made.output_limit, made.resource, made.expected) == (300, 30, 262_144, "", ())


@pytest.mark.parametrize(
    ("keys", "place", "said"),
    [
        ({"runs": []}, "runs", "at least 1 item"),
        ({"runs": [{**RUN, "command": []}]}, "runs.0.command", "at least 1 item"),
        ({"runs": [{**RUN, "command": [""]}]}, "runs.0.command", "not an executable"),
        ({"runs": [{**RUN, "command": ["sh", "a\0b"]}]}, "runs.0.command", "cannot hold a NUL"),
        ({"runs": [{**RUN, "command": "ssh luna hsm show"}]}, "runs.0.command", "tuple"),
        ({"runs": [{**RUN, "parser": "hsm"}]}, "runs.0.parser", "lunash-hsm-show"),
        ({"runs": [{**RUN, "parser": "regex"}]}, "runs.0", "needs patterns"),
        ({"runs": [{**RUN, "patterns": ["(?P<custom_a>.)"]}]}, "runs.0", "patterns are for the parser regex"),
        ({"runs": [{**RUN, "parser": "regex", "patterns": ["("]}]}, "runs.0.patterns.0", "not a pattern"),
        (
            {"runs": [{**RUN, "parser": "regex", "patterns": [r"(?P<custom_a>\d)\Z"]}]},
            "runs.0.patterns.0",
            r"\Z (the end of the text is written \z, or $)",
        ),
        (
            {"runs": [{**RUN, "parser": "regex", "patterns": ["(?P<custom_a>.)"] * 65}]},
            "runs.0.patterns",
            "at most 64 items after validation, not 65",
        ),
        ({"expected": ["a*"]}, "expected.0", "not the name of one token"),
        ({"output_limit": "1GiB"}, "output_limit", "less than or equal"),
        ({"audit_capacity": 0}, "audit_capacity", "greater than 0"),
        ({"timeout": "0s"}, "timeout", "shorter than 1ms"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], place: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**keys)

    # A list whose entries are wrong is too short besides: `settings.errors.explain` leaves that out.
    error = max(caught.value.errors(), key=lambda error: len(error["loc"]))
    assert ".".join(map(str, error["loc"])) == place
    assert said in error["msg"]


def test_a_relative_path_is_relative_like_the_files_others_and_a_bare_name_is_none(tmp_path: Path) -> None:
    runs = [
        {**RUN, "command": ["./tool", "./x"]},
        {**RUN, "command": ["bin/tool"]},
        RUN,
        {**RUN, "command": ["/bin/sh"]},
    ]
    made = settings(tmp_path, runs=runs)

    assert [run.command[0] for run in made.runs] == [f"{tmp_path}/tool", f"{tmp_path}/bin/tool", "sh", "/bin/sh"]
    assert made.runs[0].command[1] == "./x"


def test_executables_are_trusted_files_and_a_missing_one_is_said(tmp_path: Path) -> None:
    made = settings(runs=[RUN, {**RUN, "command": [str(tmp_path / "no")]}])

    assert [*made.trusted_files()] == ["runs.0.command"]
    assert made.trusted_files()["runs.0.command"].name == "sh"
    lines = list(made.about())
    assert lines[:2] == ["2 commands", "lunash-hsm-show: sh hsm show"]
    assert lines[2].endswith("(no such executable: the source would be down)")


def test_an_executable_that_others_can_write_is_refused_with_its_key(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o757)
    path = tmp_path / "agent.yaml"
    path.write_text(
        "sources: [{name: a, kind: command, runs: [{command: [./tool], parser: lunash-sysstat}]}]\n", encoding="utf-8"
    )
    path.chmod(0o444)

    with pytest.raises(ConfigError) as caught:
        load(path, trusting())

    (line,) = caught.value.lines
    assert "sources.0.runs.0.command" in line
    assert "can be written by others; run: chmod o-w" in line


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("{command: [sh], parser: regex}", "sources.0.runs.0: the parser regex needs patterns"),
        ("{command: [sh], parser: regex, patterns: ['(?P<queue>.)']}", "sources.0.runs.0.patterns.0: no metric is called"),
        (
            "{command: [sh], parser: regex, patterns: ['(?P<custom_a>.)', '(?=x)(?P<custom_b>.)']}",
            "sources.0.runs.0.patterns.1: not a pattern: invalid perl operator: (?= (there is no looking ahead)",
        ),
        ("{command: [sh], parser: lunash-sysstat, timeout: 1s}", "sources.0.runs.0.timeout: unknown key"),
    ],
)  # fmt: skip
def test_an_error_names_its_place_as_it_was_written(tmp_path: Path, run: str, said: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(f"sources: [{{name: a, kind: command, runs: [{run}]}}]\n", encoding="utf-8")
    path.chmod(0o444)

    with pytest.raises(ConfigError) as caught:
        load(path, trusting())

    (line,) = caught.value.lines
    assert said in line


def test_metrics_of_the_operators_own_are_declared() -> None:
    patterns = [r"(?P<resource>\w+) (?P<custom_a>\d+) (?P<hsm_load_percent>\d+)", r"(?P<custom_b>\d+)"]

    assert settings(runs=[RUN, {**RUN, "parser": "regex", "patterns": patterns}]).declares() == {"custom_a", "custom_b"}
    assert settings().declares() == frozenset()


async def test_calls_a_day_by_executable(tmp_path: Path) -> None:
    made = settings(every="60s", runs=[RUN, {**RUN, "command": ["/usr/bin/ssh"]}, RUN])
    collector = made.build(CollectorContext(state_directory=tmp_path))

    assert collector.calls_a_day() == {"sh": 2880.0, "ssh": 1440.0}
    assert (collector.name, collector.kind, collector.every_seconds) == ("a", "command", 60.0)
    assert collector.pids() == ()
    assert not await collector.forget("x")
    await collector.close()


class _Forgetful(CommandCollector):
    """Its first run prints "old" once and never again; an operator forgets that while the second one runs."""

    polls = 0

    async def _read(self, index: int, seconds: float) -> ParsedOutput:
        del seconds
        self.polls += index
        if index == 1:
            await self.forget("old" if self.polls > 1 else "nothing")
        name = "other" if index or self.polls else "old"
        return ParsedOutput(facts=(Fact("custom_a", 1, resource=name),))


async def test_what_is_forgotten_while_later_runs_are_read_is_missed_no_more() -> None:
    source = _Forgetful(settings(runs=[RUN, RUN]))
    first, second = await source.poll(), await source.poll()

    assert {reading.resource for reading in first.readings} == {"old", "other"}
    assert {reading.resource for reading in second.readings} == {"other"}
