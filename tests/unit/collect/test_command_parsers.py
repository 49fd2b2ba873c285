from __future__ import annotations

from typing import get_args

from hsm_agent.collect.command_parsers import PARSERS, REGEX, ParserName
from hsm_agent.metrics import METRICS
from tests.unit.collect.shell_samples import SAMPLES, read


def test_every_parser_has_its_name_and_a_sample() -> None:
    assert {*get_args(ParserName)} == {*PARSERS, REGEX}
    assert {*SAMPLES.values()} == {*PARSERS}


def test_what_parsers_say_are_metrics() -> None:
    assert {fact.metric for name in SAMPLES for fact in read(name).facts} <= {*METRICS}
