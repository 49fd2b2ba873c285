"""Figure 2: GET, GETBULK and a walk of the token table, against snmpd and pysnmp with the same table."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from benchmarks.load import OUTSTANDING, Load, closed_loop, walks
from benchmarks.messages import REPETITIONS, Asker, distinct
from benchmarks.process import CLIENT_CORE, pin, unpin
from benchmarks.report import median, number, show, times
from benchmarks.responders import TOKEN_TABLE, Responder, all_three
from hsm_agent.wire.snmp.pdu import Version

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.wire.snmp.ber import Oid, VarBind

_TOKENS = (8, 64, 512)
_ROUNDS, _ROUND_SECONDS = 5, 0.4
"""The responders take turns, so that what else the machine does hits all of them."""
_NAMES = 128
_KINDS = ("GET", f"GETBULK({REPETITIONS})", "walk")
_VERSIONS = {Version.V2C: "v2c", Version.V3: "v3"}


async def run(directory: Path, *, quick: bool) -> None:
    """Measure and print."""
    rows = []
    cells = {}
    names = ("hsm-agent", "snmpd", "pysnmp")
    for tokens in (2,) if quick else _TOKENS:
        place = directory / str(tokens)
        place.mkdir()
        async with all_three(place, tokens) as (responders, table):
            cells[tokens] = len(table)
            pin(0, CLIENT_CORE)
            try:
                for version in _VERSIONS:
                    rows += _measure(tokens, version, responders, table, quick=quick)
            finally:
                unpin(0)
    show(
        "SNMP answers",
        (
            *("tokens", "version", "request"),
            *(f"{name} /s" for name in names),
            *(f"{name} CPU us" for name in names),
            *("rate to snmpd", "CPU to snmpd", "rate to pysnmp"),
        ),
        rows,
        f"Closed loop with {OUTSTANDING} requests outstanding over loopback, client on one core, all responders on the"
        f" other, taking turns; medians of {_ROUNDS} rounds of {_ROUND_SECONDS} s, of the rates and of their ratios"
        " round by round. CPU: user and system time of the responder for one request. v3: authPriv, SHA-256 and"
        " AES-128. A walk asks for the token table by GETBULK(25), one request after the other ("
        + ", ".join(f"{tokens} tokens: {count} values" for tokens, count in cells.items())
        + "); its requests are replayed, so that no client's decoding is in the time. The others serve the same names"
        " and values: snmpd by `override` lines (64-bit values as 32-bit ones), pysnmp from a sorted list, without"
        " access checks. A rate above 1 x: the agent is faster. CPU below 1 x: it needs less.",
    )


def _measure(
    tokens: int, version: Version, responders: list[Responder], table: list[VarBind], *, quick: bool
) -> list[list[str]]:
    names = _sample(table)
    askers = {responder.name: Asker.meet(responder.port, version) for responder in responders}
    requests = {name: (*distinct(asker, names), asker.walk(TOKEN_TABLE)[0]) for name, asker in askers.items()}
    lengths = {name: len(walk) for name, (_, _, walk) in requests.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the walks differ in length: {lengths}")
    loads = {(kind, one.name): Load(rates=[]) for kind in _KINDS for one in responders}
    seconds = 0.1 if quick else _ROUND_SECONDS
    for _ in range(_ROUNDS):
        for kind, position in zip(_KINDS, range(3), strict=True):
            for one in responders:
                measure = walks if kind == "walk" else closed_loop
                measure(one.port, one.pid, requests[one.name][position], seconds, loads[kind, one.name])
    return [
        _row(tokens, version, kind, [loads[kind, one.name] for one in responders]) for kind in _KINDS
    ]  # fmt: skip


def _sample(table: list[VarBind]) -> list[Oid]:
    """Names all over the table, the same in each run; none so near the end that a GETBULK leaves it."""
    names = [one.name for one in table[:-REPETITIONS]]
    return random.Random(2410).sample(names, min(_NAMES, len(names)))


def _paired(ours: Load, theirs: Load) -> float:
    """How our rate compares, round by round: what slows the machine for a while slows both."""
    return median([mine / other for mine, other in zip(ours.rates, theirs.rates, strict=True)])


def _row(tokens: int, version: Version, kind: str, loads: list[Load]) -> list[str]:
    ours, snmpd, pysnmp = loads
    return [
        str(tokens),
        _VERSIONS[version],
        kind,
        *(number(load.rate) for load in loads),
        *(number(load.cpu_microseconds) for load in loads),
        times(_paired(ours, snmpd)),
        times(ours.cpu_microseconds / snmpd.cpu_microseconds),
        times(_paired(ours, pysnmp)),
    ]
