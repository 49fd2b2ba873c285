from __future__ import annotations

from typing import get_args

import pytest

from hsm_agent.collect.command import parsers as command_parsers
from hsm_agent.collect.command.parsers import METRICS_PRODUCED, PARSERS, REGEX, ParserName
from hsm_agent.collect.command.parsers.text import MOST_FACTS, Malformed
from hsm_agent.metrics import METRICS
from hsm_agent.settings.regex import compile_pattern
from tests.unit.collect.shell_samples import SAMPLES, read

COMPUTED = ("audit_capacity_records", "audit_used_percent", "audit_seconds_to_full")


def test_every_parser_has_its_name_and_a_sample() -> None:
    assert {*get_args(ParserName)} == {*PARSERS, REGEX}
    assert {*SAMPLES.values()} == {*PARSERS}


def test_what_parsers_say_are_metrics() -> None:
    assert {fact.metric for name in SAMPLES for fact in read(name).facts} <= {*METRICS}


def test_a_parser_brings_no_metric_that_check_config_does_not_tell_of() -> None:
    found = {(parser, fact.metric) for name, parser in SAMPLES.items() for fact in read(name).facts}
    counted = {("lunash-audit-show", name) for name in COMPUTED}

    assert found | counted <= {(parser, metric) for parser, metrics in METRICS_PRODUCED.items() for metric in metrics}
    assert {metric for metrics in METRICS_PRODUCED.values() for metric in metrics} <= {*METRICS}


def test_an_output_is_read_by_name_or_by_pattern_whatever_bytes_it_has() -> None:
    pattern = compile_pattern(r"=(?P<custom_a>[0-9]+)")

    assert command_parsers.read("lunash-sysstat", (), b"\xff\x00\nSystem Status: ISO\n").facts[0].value == 1
    assert command_parsers.read("regex", (pattern,), b"\xff=5").facts[0].value == 5


def test_more_readings_than_any_device_has_are_refused() -> None:
    rows = [f"r{n} | 1 | C | ok" for n in range(MOST_FACTS)]
    text = "\n".join(["Sensor | Reading | Unit | Status", *rows, ""])

    with pytest.raises(Malformed, match=f"the output makes {2 * MOST_FACTS} readings; {MOST_FACTS} are allowed"):
        command_parsers.read("lunash-sensors", (), text.encode())
