"""`hsm-agent check`: one question, one line, an exit code, as Nagios and Icinga call it.

Either one token read directly (`-p`), the way p11memmon did it, or a reading of the running agent (`--metric`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hsm_agent.cli.nagios import Range, State, judge, line, perfdata
from hsm_agent.model import number_text
from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from hsm_agent.collect.pkcs11.recording import Library
    from hsm_agent.model import Reading

_UNITS = {"percent": "%", "bytes": "B", "seconds": "s"}
_MOST_PLACES = 20
_LEAST_SECONDS = 0.1
_MEMORY = "token_memory_private_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a check says: the state, its line, and further lines for `-v`."""

    state: State
    line: str
    details: tuple[str, ...] = ()


def _unknown(text: str, *details: str) -> Answer:
    return Answer(state=State.UNKNOWN, line=line(State.UNKNOWN, text), details=details)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenQuestion:
    """How full the private memory of one token is. Ranges are in percent, `total` in bytes."""

    module: Path
    label: str | None
    total: int | None
    warning: Range
    critical: Range
    timeout_seconds: float


def check_token(question: TokenQuestion) -> Answer:
    """Read one token without a configuration and judge its private memory."""
    from hsm_agent.collect.pkcs11.single_sweep import SingleSweep, SweepFailed

    # A plugin's caller sets up the vendor's client by its own environment; there is no file to do it.
    environment = dict(os.environ)
    try:
        sweep = SingleSweep(str(question.module), environment, question.timeout_seconds)
    except SweepFailed:
        return _check_by_collector(question, environment, question.timeout_seconds)
    # While the worker starts: these take as long as it does.
    from hsm_agent.collect.pkcs11.parse import parse
    from hsm_agent.collect.pkcs11.poll_state import Known, Watch
    from hsm_agent.collect.pkcs11.recording import library

    # What the agent makes of `memory_total`: one way of counting for both.
    watch = Watch(source="check", memory_total={} if question.total is None else {"*": question.total})
    try:
        raw = sweep.read()
        sweep.ask_to_end()
        parsed = parse(raw, watch, Known())
        if not parsed.well:
            return _unknown(f"no token could be read: {parsed.errors[0]}")
        return judge_token(question, parsed.readings, parsed.errors, library(raw))
    except SweepFailed:
        sweep.end()
        return _check_by_collector(question, environment, sweep.seconds_left)
    finally:
        sweep.end()


def _check_by_collector(question: TokenQuestion, environment: dict[str, str], seconds: float) -> Answer:
    """By the agent's own collector: it takes longer to start, and gets as much as there is out of a bad module."""
    import asyncio

    from hsm_agent.cli.poll import poll_all
    from hsm_agent.collect.base import SourceFailure
    from hsm_agent.collect.pkcs11.recording import library
    from hsm_agent.collect.pkcs11.source import Pkcs11Settings

    source = Pkcs11Settings.model_validate(
        {
            "name": "check",
            "kind": "pkcs11",
            "module": str(question.module),
            "timeout": f"{max(seconds, _LEAST_SECONDS):.3f}s",
            "tokens": ["*"],
            "luna": "off",
            "memory_total": {} if question.total is None else {"*": question.total},
            "environment": environment,
        },
        context={"base": "."},
    )
    try:
        (polled,) = asyncio.run(asyncio.wait_for(poll_all([source]), max(seconds, _LEAST_SECONDS) + 2))
    except TimeoutError:
        return _unknown(f"{question.module}: no answer within {question.timeout_seconds:g} s")
    except SourceFailure as failure:
        return _unknown(str(failure))
    if polled.poll is None:
        return _unknown(polled.failure)
    return judge_token(question, polled.readings, polled.failures, library(polled.poll.raw))


def judge_token(
    question: TokenQuestion, readings: tuple[Reading, ...], failures: tuple[str, ...], module: Library | None = None
) -> Answer:
    """The answer, from what was read."""
    said = _module_lines(module) if module is not None else ()
    details = (*said, *(_detail(reading) for reading in readings), *failures)
    names = sorted({reading.resource for reading in readings if reading.metric == "token_info"})
    chosen = [name for name in names if question.label is None or _is_called(name, readings, question.label)]
    if not chosen:
        wanted = f"no token {question.label!r}" if question.label else "no token"
        return _unknown(f"{wanted} in {question.module}; it has: {', '.join(names) or 'none'}", *details)
    if len(chosen) > 1:
        return _unknown(f"{len(chosen)} tokens, name one with -l: {', '.join(chosen)}", *details)
    values = {r.metric: r for r in readings if r.resource == chosen[0]}
    details = (*said, *_token_lines(chosen[0], values), *details[len(said) :])
    free, total, used = (values.get(f"{_MEMORY}{name}_bytes") for name in ("free", "total", "used"))
    if used is None or used.value is None or free is None or free.value is None or total is None or not total.value:
        return _unknown(f"{chosen[0]}: private memory is unavailable: {_why(free, total, used)}", *details)
    percent = 100 * used.value / total.value
    state = judge(percent, question.warning, question.critical)
    factor = total.value / 100
    data = perfdata(
        "private memory", str(int(used.value)), "B", question.warning.scaled(factor), question.critical.scaled(factor),
        "0", str(int(total.value)),
    )  # fmt: skip
    text = f"{chosen[0]}: private memory {percent:.1f} % used, {int(free.value)} of {int(total.value)} bytes free"
    return Answer(state=state, line=line(state, text, data), details=details)


def _why(free: Reading | None, total: Reading | None, used: Reading | None) -> str:
    """Why there is no share, and whether -m would help."""
    told = [reading for reading in (free, total, used) if reading is not None and reading.value is None]
    reason = next((reading.reason for reading in told), "the token reports none")
    if "cannot be" in reason:
        return f"{reason}: give the true size with -m"
    return f"{reason}; give its size with -m" if free is not None and free.value is not None else reason


def _module_lines(module: Library) -> tuple[str, ...]:
    named = f"{module.manufacturer} {module.description}".strip() or "not told"
    return (
        f"library: {named}, version {module.version or 'not told'}, Cryptoki {module.cryptoki or 'not told'}",
        f"slots found: {module.slots}",
    )


def _token_lines(name: str, values: Mapping[str, Reading]) -> Iterator[str]:
    """What p11memmon shows of the token: its slot, and the sums."""
    slot = dict(values["slot_info"].labels) if "slot_info" in values else {}
    serial = dict(values["token_info"].labels).get("serial", "")
    yield f"token {name}: slot {slot.get('slot_id', 'not told')}, serial {serial or 'blank'}"
    for kind in ("private", "public"):
        sums = [(word, values.get(f"token_memory_{kind}_{word}_bytes")) for word in ("total", "used", "free")]
        told = [f"{word} {number_text(sum_.value)} B" for word, sum_ in sums if sum_ and sum_.value is not None]
        yield f"{kind} memory: {', '.join(told) or 'not reported'}"


def _is_called(name: str, readings: tuple[Reading, ...], label: str) -> bool:
    labels = [dict(r.labels) for r in readings if r.metric == "token_info" and r.resource == name]
    told = {name, *(each.get(key, "") for each in labels for key in ("label", "serial"))}
    return any(glob_matches(each, label) for each in told)


def _detail(reading: Reading) -> str:
    value = number_text(reading.value) if reading.value is not None else f"unavailable: {reading.reason}"
    return f"{reading.resource} {reading.metric} {value}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuestion:
    """What a reading of the running agent is now. `metric` may be its Prometheus name, `labels` as at `/metrics`."""

    control: Path
    metric: str
    source: str
    resource: str
    labels: Mapping[str, str] = field(default_factory=dict)
    warning: Range | None
    critical: Range | None
    timeout_seconds: float


def check_metric(question: MetricQuestion) -> Answer:
    """Ask the running agent for one reading and judge it by the ranges given."""
    from hsm_agent.agent.control_client import ControlError, ask
    from hsm_agent.metrics import unit

    try:
        answer = ask(
            question.control,
            "reading",
            timeout_seconds=question.timeout_seconds,
            metric=question.metric,
            source=question.source,
            resource=question.resource,
            labels=dict(question.labels),
        )
    except ControlError as error:
        return _unknown(str(error))
    found: list[dict[str, Any]] = answer["readings"]
    labels = ",".join(f"{name}={value}" for name, value in question.labels.items())
    words = (question.source, question.resource, question.metric, labels)
    name = " ".join(each for each in words if each not in {"", "*"})
    if not found:
        return _unknown(f"{name}: the agent has no such reading{_meant(answer, question)}")
    if len(found) > 1:
        return _unknown(f"{name}: {len(found)} readings, say which: {_places(found)}")
    reading = found[0]
    if reading["value"] is None:
        return _unknown(f"{name}: unavailable: {reading['reason']}")
    value = float(reading["value"])
    state = judge(value, question.warning, question.critical)
    metric = reading["metric"]
    word = unit(metric)
    text = f"{reading['source']} {reading['resource']}: {metric} {number_text(value)} {word}".rstrip()
    if value == float("inf"):
        return Answer(state=state, line=line(state, text))  # performance data has no word for it
    data = perfdata(
        metric, number_text(value), _UNITS.get(word, ""), str(question.warning or ""),
        str(question.critical or ""),
    )  # fmt: skip
    return Answer(state=state, line=line(state, text, data))


def _meant(answer: Mapping[str, Any], question: MetricQuestion) -> str:
    """Where there are readings of that metric; of which metrics, where there are none."""
    if elsewhere := answer.get("elsewhere"):
        return f"; of that metric there is {_places(elsewhere, question.labels)}"
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
