"""Ranges and performance data of `check` as two other implementations of the convention read them."""

from __future__ import annotations

import itertools
import os
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import nagiosplugin
import pytest

from hsm_agent.cli.nagios import Range, RangeError, perfdata
from tests.peers.require import PEERS, require

if TYPE_CHECKING:
    from collections.abc import Iterable

ENDS = ("", "0", "5", "10", "-5", "-5.5", "0.5", "10.25", "~")
VALUES = (-6.0, -5.5, -5.0, -1.0, 0.0, 0.25, 0.5, 5.0, 7.0, 10.0, 10.25, 11.0)
RANGES = sorted(
    {f"{at}{range_}" for at in ("", "@") for end in ENDS for range_ in (end, *(f"{end}:{other}" for other in ENDS))}
)
# Texts that the three do not agree on: nothing at all, and a colon alone. Ours refuses the first as Perl's does, and
# takes the second for 0 to infinity as Python's does.
DISPUTED = {"", "@", ":", "@:"}

_JUDGE = """
use strict; use warnings; use Monitoring::Plugin::Range;
local $SIG{__WARN__} = sub {};
while (my $line = <STDIN>) {
    chomp $line;
    my ($text, $value) = split /\\t/, $line;
    my $range = eval { Monitoring::Plugin::Range->parse_range_string($text) };
    print defined $range ? ($range->check_range($value) ? 1 : 0) : 'refused', "\\n";
}
"""
_READ = """
use strict; use warnings; use Monitoring::Plugin::Performance;
while (my $line = <STDIN>) {
    chomp $line;
    for my $p (Monitoring::Plugin::Performance->parse_perfstring($line)) {
        print join("\\t", map { defined $_ ? $_ : '' }
            $p->label, $p->value, $p->uom, $p->warning, $p->critical, $p->min, $p->max), "\\n";
    }
}
"""


def perl(program: str, lines: Iterable[str]) -> list[str]:
    """What Perl's Monitoring::Plugin says, a line for each."""
    folders = [folder for pattern in ("share/perl5", "lib/*/perl5/*") for folder in PEERS.glob(f"*/usr/{pattern}")]
    environment = {**os.environ, "PERL5LIB": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        [require("perl"), "-e", program],
        input="".join(f"{line}\n" for line in lines), capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    return done.stdout.splitlines()


@cache
def by_perl() -> dict[tuple[str, float], str]:
    cases = list(itertools.product(RANGES, VALUES))
    return dict(zip(cases, perl(_JUDGE, (f"{text}\t{value}" for text, value in cases)), strict=True))


def by_python(text: str, value: float) -> str:
    try:
        return str(int(not nagiosplugin.Range(text).match(value)))
    except ValueError:
        return "refused"


def by_us(text: str, value: float) -> str:
    try:
        return str(int(Range.parse(text).alerts(value)))
    except RangeError:
        return "refused"


@pytest.mark.parametrize("text", [text for text in RANGES if text not in DISPUTED])
def test_a_range_means_the_same_to_all(text: str) -> None:
    told = {value: (by_us(text, value), by_perl()[text, value], by_python(text, value)) for value in VALUES}

    assert {value: set(answers) for value, answers in told.items() if len(set(answers)) > 1} == {}


def test_the_generated_ranges_are_of_every_sort() -> None:
    answers = {by_us(text, value) for text in RANGES for value in VALUES}

    assert answers == {"0", "1", "refused"}
    assert len(RANGES) > 150


@pytest.mark.parametrize("text", ["", "@"])
def test_nothing_is_no_range(text: str) -> None:
    assert by_us(text, 0.0) == by_perl()[text, 0.0] == "refused"


@pytest.mark.parametrize("text", [":", "@:"])
def test_a_colon_alone_is_from_0_on(text: str) -> None:
    assert [by_us(text, value) for value in VALUES] == [by_python(text, value) for value in VALUES]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("private memory", "43968", "B", "10714809", "12857770", "0", "14286412"), id="whole"),
        pytest.param(("used", "99.632", "%", "80", "95", "", ""), id="percent"),
        pytest.param(("offset", "-5.5", "s", "~:10", "-5:10", "", ""), id="ranges"),
        pytest.param(("objects", "7", "", "", "", "", ""), id="value alone"),
    ],
)
def test_performance_data_is_read_back(words: tuple[str, ...]) -> None:
    label, value, unit, *limits = words

    (line,) = perl(_READ, [perfdata(*words)])
    assert line.split("\t") == list(words)
    theirs = str(nagiosplugin.Performance(label, value, unit, *limits))
    assert perfdata(*words).replace("'", "") == theirs.replace("'", "")


def test_several_performance_data_are_told_apart() -> None:
    lines = perl(_READ, [f"{perfdata('a b', '1', '')} {perfdata('c', '2', '%', '80')}"])

    assert [line.split("\t")[:4] for line in lines] == [["a b", "1", "", ""], ["c", "2", "%", "80"]]
