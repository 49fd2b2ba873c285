"""`hsm-agent check`: p11memmon's options, the plugin guidelines' exit codes, 3 for anything unclear.

A check of a token is in check_token.py; a reading of the running agent is asked for and judged here. What only one of
the two needs is imported where it is used: a scheduler starts this program every few minutes.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, NoReturn

from hsm_agent.cli.nagios import Answer, Range, RangeError, State, judge, line, perfdata, unknown
from hsm_agent.text import size
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

DESCRIPTION = "Check private memory of one token, or one reading of the running agent. Ranges are Nagios ranges."

_WIDTH = 100
_UNITS = {"percent": "%", "bytes": "B", "seconds": "s"}
_MOST_PLACES = 20


class _Usage(Exception):
    """The arguments are wrong, or only help was asked for; the text is the whole answer."""


class _Help(argparse.HelpFormatter):
    """Of a fixed width: to ask the terminal for its own, argparse imports a dozen modules whenever it is set up."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_WIDTH)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Usage(line(State.UNKNOWN, f"{message}; see hsm-agent check --help"))


def _range(text: str) -> Range:
    try:
        return Range.parse(text)
    except RangeError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _total(text: str) -> int:
    try:
        found = size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found <= 0:
        raise argparse.ArgumentTypeError("the total must be above 0")
    return found


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text!r}") from error
    if not 0 < found <= 3600:  # noqa: PLR2004 - an hour is more than any scheduler waits
        raise argparse.ArgumentTypeError(f"not between 0 and 3600 seconds: {text!r}")
    return found


def _labels(arguments: Sequence[str]) -> dict[str, str]:
    # Not by `type`, which would be asked before an unknown option is told.
    for word in arguments:
        if not word.partition("=")[0] or "=" not in word:
            raise _Usage(line(State.UNKNOWN, f"not a label: {word!r} (write name=value); see hsm-agent check --help"))
    return {name: value for name, _, value in (word.partition("=") for word in arguments)}


def parser() -> argparse.ArgumentParser:
    """The arguments of `check`."""
    made = _Parser(
        prog="hsm-agent check", description=DESCRIPTION, formatter_class=_Help, add_help=False, allow_abbrev=False
    )
    made.add_argument("-p", "--module", metavar="MODULE", help="PKCS#11 module to read directly")
    made.add_argument("-l", "--label", help="label or serial of the token, where there are several")
    made.add_argument("labels", nargs="*", metavar="LABEL=VALUE", help="labels of the reading (--metric)")
    made.add_argument("-m", "--total", type=_total, metavar="TOTAL", help="size of private memory, where none is told")
    made.add_argument("-w", "--warning", type=_range, metavar="RANGE", help="warning range (with -p: percent, 75)")
    made.add_argument("-c", "--critical", type=_range, metavar="RANGE", help="critical range (with -p: percent, 90)")
    made.add_argument("-t", "--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="give up after (10)")
    made.add_argument("-v", "--verbose", action="count", default=0, help="more lines after the first")
    made.add_argument("--metric", metavar="NAME", help="ask the running agent for this reading")
    made.add_argument("--source", default="*", help="its source")
    made.add_argument("--resource", default="*", help="its resource")
    made.add_argument("--config", metavar="FILE", help="configuration of the running agent")
    made.add_argument("-h", "--help", action="store_true", help="show this and exit (3)")
    made.add_argument("-V", "--version", action="store_true", help="show the version and exit (3)")
    return made


def main(arguments: Sequence[str]) -> int:
    """Answer on standard output; returns the exit code."""
    try:
        answer, verbose = _answer(arguments)
    except _Usage as usage:
        print(usage)  # noqa: T201 - a plugin's answer is its standard output
        return State.UNKNOWN.value
    print(answer.line, *(answer.details if verbose else ()), sep="\n")  # noqa: T201 - as above
    return answer.state.value


def _answer(arguments: Sequence[str]) -> tuple[Answer, int]:
    made = parser()
    given = made.parse_intermixed_args(arguments)
    if given.help:
        raise _Usage(made.format_help().rstrip())
    if given.version:
        raise _Usage(f"hsm-agent {VERSION}")
    if (given.module is None) == (given.metric is None):
        made.error("give either -p MODULE or --metric NAME")
    if given.module is not None and given.labels:
        made.error("LABEL=VALUE goes with --metric; name a token with -l")
    if given.metric is not None and given.label is not None:
        made.error("-l names a token (-p); for --metric write LABEL=VALUE")
    answer = _of_token(given) if given.module is not None else _of_metric(given)
    return answer, given.verbose


def _of_token(given: argparse.Namespace) -> Answer:
    from hsm_agent.collect.pkcs11.single_sweep import SingleSweep

    try:
        sweep = SingleSweep(given.module, given.timeout)
    except OSError as error:
        return unknown(f"the worker cannot be started: {error}")
    with sweep:
        # While the worker loads the module: this takes as long as it does.
        from hsm_agent.cli.check_token import TokenQuestion, check_token

        question = TokenQuestion(
            module=given.module,
            label=given.label,
            total=given.total,
            warning=given.warning or Range.parse("75"),
            critical=given.critical or Range.parse("90"),
            timeout_seconds=given.timeout,
            verbose=bool(given.verbose),
        )
        return check_token(question, sweep)


def _of_metric(given: argparse.Namespace) -> Answer:
    """Ask the running agent for one reading and judge it by the ranges given."""
    from pathlib import Path

    from hsm_agent.agent.control_client import ControlError, ask
    from hsm_agent.config.agent import load_agent
    from hsm_agent.config.document import find
    from hsm_agent.settings.errors import ConfigError

    labels = _labels(given.labels)
    try:
        agent = load_agent(Path(given.config) if given.config else find(), os.environ)
        answer = ask(
            agent.control_path,
            "reading",
            timeout_seconds=given.timeout,
            metric=given.metric,
            source=given.source,
            resource=given.resource,
            labels=labels,
        )
    except ConfigError as error:
        return unknown(error.lines[0])
    except ControlError as error:
        return unknown(str(error))
    found: list[dict[str, Any]] = answer["readings"]
    asked = (given.source, given.resource, given.metric, ",".join(f"{name}={value}" for name, value in labels.items()))
    name = " ".join(each for each in asked if each not in {"", "*"})
    if not found:
        return unknown(f"{name}: the agent has no such reading{_suggestion(answer, labels)}")
    if len(found) > 1:
        return unknown(f"{name}: {len(found)} readings, say which: {_places(found)}")
    if found[0]["value"] is None:
        return unknown(f"{name}: unavailable: {found[0]['reason']}")
    return _judged(found[0], given.warning, given.critical)


def _judged(reading: Mapping[str, Any], warning: Range | None, critical: Range | None) -> Answer:
    from hsm_agent.metrics import unit
    from hsm_agent.model import number_text

    metric, value = reading["metric"], float(reading["value"])
    state, unit_name = judge(value, warning, critical), unit(metric)
    place = " ".join(filter(None, (reading["source"], reading["resource"])))
    text = f"{place}: {metric} {number_text(value)} {unit_name}".rstrip()
    if value == float("inf"):
        return Answer(state=state, line=line(state, text))  # performance data can't express infinity
    data = perfdata(metric, number_text(value), _UNITS.get(unit_name, ""), str(warning or ""), str(critical or ""))
    return Answer(state=state, line=line(state, text, data))


def _suggestion(answer: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Where there are readings of that metric, or similar names of metrics where there are none."""
    if elsewhere := answer.get("elsewhere"):
        return f"; of that metric there is {_places(elsewhere, labels)}"
    return f", did you mean {' or '.join(near)}?" if (near := answer.get("near")) else ""


def _places(found: list[dict[str, Any]], asked: Collection[str] = ()) -> str:
    """What tells these readings apart: source and resource, and the labels in which they differ or that were asked."""
    names = sorted({name for each in found for name in each["labels"]})
    varying = [name for name in names if asked or len({each["labels"].get(name) for each in found}) > 1]
    places = set()
    for each in found:
        labels = [f"{name}={each['labels'].get(name, '')}" for name in varying]
        places.add(" ".join([f"{each['source']}/{each['resource']}", *labels]))
    return ", ".join(sorted(places)[:_MOST_PLACES]) + (" …" if len(places) > _MOST_PLACES else "")
