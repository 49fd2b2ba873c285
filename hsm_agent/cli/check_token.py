"""`hsm-agent check -p`: how full the private memory of one token is, read directly, the way p11memmon did it.

Nagios starts it every few minutes for each token. What every check needs is therefore imported here, and what only
some need where they need it: `-v`, and a module that is in trouble.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from hsm_agent.cli.nagios import Answer, Range, judge, line, perfdata, unknown
from hsm_agent.collect.pkcs11.single_sweep import SweepFailed, SweepHung
from hsm_agent.collect.pkcs11.token import TokenIdentity, count, decode_token, memory, resources
from hsm_agent.text import glob_matches
from hsm_agent.workers.pkcs11.return_values import ABSENT, OK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hsm_agent.collect.base import Poll
    from hsm_agent.collect.pkcs11.single_sweep import SingleSweep
    from hsm_agent.collect.pkcs11.source import Pkcs11Settings
    from hsm_agent.collect.pkcs11.token import Memory
    from hsm_agent.model import Reading

_LEAST_SECONDS = 0.1


class TokenQuestion(NamedTuple):
    """Which token is meant, and how it is judged. Ranges are in percent, `total` in bytes."""

    module: str
    label: str | None
    total: int | None
    warning: Range
    critical: Range
    timeout_seconds: float
    verbose: bool = False


class _Found(NamedTuple):
    """A token, what the agent would call it, and its private memory."""

    name: str
    label: str
    serial: str
    memory: Memory


def check_token(question: TokenQuestion, sweep: SingleSweep) -> Answer:
    """Read all tokens of the module without a configuration, and judge the private memory of one."""
    try:
        raw = sweep.read()
    except SweepHung as hung:
        return unknown(str(hung))
    except SweepFailed:
        sweep.end()
        return _check_by_collector(question, sweep.seconds_left)
    sweep.ask_to_end()
    return _judge_sweep(question, raw)


def _judge_sweep(question: TokenQuestion, raw: Mapping[str, Any]) -> Answer:
    if not raw["failed"] and not question.verbose:
        return judge_token(question, raw)
    from hsm_agent.collect.pkcs11.parse import parse
    from hsm_agent.collect.pkcs11.poll_state import ParseOptions, PollMemory
    from hsm_agent.collect.pkcs11.recording import RawPoll

    # What the agent makes of `memory_total`: one way of counting for both.
    options = ParseOptions(name="check", memory_total={} if question.total is None else {"*": question.total})
    parsed = parse(RawPoll.from_json(raw), options, PollMemory())
    if not parsed.well:
        return unknown(f"no token could be read: {parsed.errors[0]}")
    return judge_token(question, raw, parsed.readings, parsed.errors)


def _check_by_collector(question: TokenQuestion, seconds: float) -> Answer:
    """By the agent's own collector: it takes longer to start, and gets as much as there is out of a bad module."""
    import asyncio

    from hsm_agent.collect.base import SourceFailure
    from hsm_agent.collect.pkcs11.recording import RawPoll
    from hsm_agent.collect.pkcs11.source import Pkcs11Settings

    seconds = max(seconds, _LEAST_SECONDS)
    settings = Pkcs11Settings.model_validate(
        {
            "name": "check",
            "kind": "pkcs11",
            "module": question.module,
            "timeout": f"{seconds:.3f}s",
            "tokens": ["*"],
            "luna": "off",
            "memory_total": {} if question.total is None else {"*": question.total},
            # A plugin's caller sets up the vendor's client by its own environment; there is no file to do it.
            "environment": dict(os.environ),
        },
        context={"base": "."},
    )
    try:
        poll = asyncio.run(asyncio.wait_for(_poll(settings), seconds + 2))
    except TimeoutError:
        return unknown(f"{question.module}: no answer within {question.timeout_seconds:g} s")
    except SourceFailure as failure:
        return unknown(str(failure))
    assert isinstance(poll.raw, RawPoll)
    return judge_token(question, poll.raw.to_json(), poll.readings, poll.errors)


async def _poll(settings: Pkcs11Settings) -> Poll:
    import tempfile
    from pathlib import Path

    from hsm_agent.collect.base import CollectorContext

    with tempfile.TemporaryDirectory(prefix="hsm-agent-check-") as scratch:
        collector = settings.build(CollectorContext(state_directory=Path(scratch), lasting=False))
        try:
            return await collector.poll()
        finally:
            await collector.close()


def judge_token(
    question: TokenQuestion, raw: Mapping[str, Any], readings: Sequence[Reading] = (), failures: Sequence[str] = ()
) -> Answer:
    """The answer, from the raw result of a sweep (`recording.py`). Readings and failures are details for `-v`."""
    found = sorted(_tokens(raw, question.total), key=lambda token: token.name)
    names = ", ".join(token.name for token in found)
    chosen = [
        token
        for token in found
        if question.label is None or any(glob_matches(name, question.label) for name in token[:3])
    ]
    details = tuple(_details(chosen[0].name if len(chosen) == 1 else "", raw, readings, failures))
    others = f"; no token {question.label!r} is among the others: {names}" if question.label and names else ""
    if not chosen and failures and _is_any_unread(raw):  # it may be the one that is meant
        return unknown(f"{failures[0]}{others}", *details)
    if not chosen:
        wanted = f"no token {question.label!r}" if question.label else "no token"
        return unknown(f"{wanted} in {question.module}; it has: {names or 'none'}", *details)
    if len(chosen) > 1:
        return unknown(f"{len(chosen)} tokens, name one with -l: {', '.join(token.name for token in chosen)}", *details)
    (token,) = chosen
    memory = token.memory
    if memory.percent is None or memory.used is None or memory.free is None or not memory.total:
        return unknown(f"{token.name}: private memory is unavailable: {_why(memory)}", *details)
    factor = memory.total / 100
    data = perfdata(
        "private memory", str(memory.used), "B", question.warning.scaled(factor), question.critical.scaled(factor),
        "0", str(memory.total),
    )  # fmt: skip
    state = judge(memory.percent, question.warning, question.critical)
    text = f"{token.name}: private memory {memory.percent:.1f} % used, {memory.free} of {memory.total} bytes free"
    return Answer(state, line(state, text, data), details)


def _tokens(raw: Mapping[str, Any], total: int | None) -> Iterator[_Found]:
    """The initialised tokens that could be read."""
    ulong_bytes = raw["ulong"]
    payloads = {slot: payload for step, slot, _, _, payload in raw["results"] if step == "token"}
    tokens = {slot: decode_token(bytes.fromhex(token), ulong_bytes) for slot, (_, token) in payloads.items() if token}
    tokens = {slot: token for slot, token in tokens.items() if token.initialized}
    names = resources({slot: TokenIdentity(token.label, token.serial) for slot, token in tokens.items()}, {})
    for slot, token in tokens.items():
        found = memory(count(token.total_private, ulong_bytes), count(token.free_private, ulong_bytes), total)
        yield _Found(names[slot], token.label, token.serial, found)


def _is_any_unread(raw: Mapping[str, Any]) -> bool:
    """Whether there is a slot whose token could not be read, other than for want of one."""
    refused = (calls for step, _, _, calls, payload in raw["results"] if step == "token" and not payload[1])
    return bool(raw["failed"]) or any(value != OK and value not in ABSENT for calls in refused for _, value, _ in calls)


def _why(memory: Memory) -> str:
    """Why there is no share, and whether -m would help."""
    reason = memory.reason or "the token reports none"
    if "cannot be" in reason:
        return f"{reason}: give the true size with -m"
    return f"{reason}; give its size with -m" if memory.free is not None else reason


def _details(name: str, raw: Mapping[str, Any], readings: Sequence[Reading], failures: Sequence[str]) -> Iterator[str]:
    """For `-v`: the library, the token as p11memmon shows it, every reading, and what failed."""
    if not readings:
        return
    from hsm_agent.collect.pkcs11.recording import library
    from hsm_agent.model import number_text

    module = library(raw)
    named = f"{module.manufacturer} {module.description}".strip() or "not told"
    yield f"library: {named}, version {module.version or 'not told'}, Cryptoki {module.cryptoki or 'not told'}"
    yield f"slots found: {module.slots}"
    if name:
        yield from _token_lines(name, {reading.metric: reading for reading in readings if reading.resource == name})
    for reading in readings:
        value = number_text(reading.value) if reading.value is not None else f"unavailable: {reading.reason}"
        yield f"{reading.resource} {reading.metric} {value}".strip()
    yield from failures


def _token_lines(name: str, values: Mapping[str, Reading]) -> Iterator[str]:
    """What p11memmon shows of the token: its slot, and the sums."""
    from hsm_agent.model import number_text

    slot = dict(values["slot_info"].labels) if "slot_info" in values else {}
    serial = dict(values["token_info"].labels).get("serial", "") if "token_info" in values else ""
    yield f"token {name}: slot {slot.get('slot_id', 'not told')}, serial {serial or 'blank'}"
    for kind in ("private", "public"):
        sums = [(word, values.get(f"token_memory_{kind}_{word}_bytes")) for word in ("total", "used", "free")]
        told = [f"{word} {number_text(sum_.value)} B" for word, sum_ in sums if sum_ and sum_.value is not None]
        yield f"{kind} memory: {', '.join(told) or 'not reported'}"
