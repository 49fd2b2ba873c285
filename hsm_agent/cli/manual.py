"""The manual pages hsm-agent(1) and agent.yaml(5): the command line, and what the documentation says of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hsm_agent.cli import roff

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hsm_agent.cli.command_line import OptionWords, VerbWords

_DATE = "2026-11-29"
"""Of the last change to how the pages are made; what they say comes from elsewhere."""
_ROW = re.compile(r"^\| `([^`]+)` \| (.*) \| (.*) \|$", re.MULTILINE)
_FILES = (
    ("/etc/hsm-agent/agent.yaml", "the configuration where `--config` names none, and `conf/agent.yaml` is not there"),
    ("/var/lib/hsm-agent", "the state of the service: spool, alarms, histories, SNMP engine"),
    ("/run/hsm-agent/control", "the socket that the verbs ask a running service through"),
)
_ENVIRONMENT = (
    ("HSM_AGENT__SECTION__KEY", "overrides a key of the configuration: agent.yaml(5)"),
    ("HSM_AGENT_TRUSTED_UIDS", "users, beside root, who may own the configuration and what it runs"),
    ("STATE_DIRECTORY, RUNTIME_DIRECTORY, CREDENTIALS_DIRECTORY", "as systemd.exec(5) sets them for a service"),
    ("NO_COLOR", "tables and reports without colours"),
)


def command_page(top: VerbWords, operations: str) -> str:
    """hsm-agent(1). `operations` is docs/operations.md: what a verb does, and its exit status, are taken from there."""
    return "\n".join([*_command_page(top, operations), ""])


def _command_page(top: VerbWords, operations: str) -> Iterator[str]:
    rows = {_verb_of(found[1]): (found[2], found[3]) for found in _ROW.finditer(operations)}
    yield from _head("hsm\\-agent", 1, f"{top.summary[:1].lower()}{top.summary[1:]}")
    yield from (".SH SYNOPSIS", ".B hsm\\-agent", ".I VERB", "[OPTIONS] [ARGUMENTS]")
    yield from (".SH DESCRIPTION", *roff.lines(roff.plain(top.help)))
    yield "Errors are one line each on standard error."
    yield ".SH OPTIONS"
    for option in top.options:
        yield from _option(option)
    yield ".SH VERBS"
    for verb in [*top.walk()][1:]:
        yield from _verb(verb, rows.get(" ".join(verb.path), ("", "")))
    for name, entries in (("FILES", _FILES), ("ENVIRONMENT", _ENVIRONMENT)):
        yield f".SH {name}"
        for term, text in entries:
            yield from (".TP", roff.bold(term), *_line(text))
    yield from (".SH SEE ALSO", ".BR agent.yaml (5)")


def _verb_of(row: str) -> str:
    """The verb that a row is about, without the options and arguments behind it."""
    return re.split(r" (?=[-A-Z])", row, maxsplit=1)[0]


def _line(markdown: str) -> Iterator[str]:
    """A line of Markdown without the paragraph that it would be."""
    return (line for line in roff.body(markdown) if line != ".PP")


def _head(name: str, section: int, summary: str) -> Iterator[str]:
    yield '.\\" Made by scripts/share: change what it is made from.'
    yield f".TH {name.upper()} {section} {_DATE} hsm\\-agent"
    yield from (".SH NAME", f"{name} \\- {summary}")


def _verb(verb: VerbWords, documented: tuple[str, str]) -> Iterator[str]:
    words = [*verb.arguments, *(["VERB"] if verb.verbs else [])]
    yield f'.SS "{roff.literal(" ".join(["hsm-agent", *verb.path]))}"'
    yield from (".nf", " ".join([roff.bold(" ".join(verb.path)), "[OPTIONS]", *map(roff.plain, words)]), ".fi")
    does, status = documented
    if len(does) > len(verb.help):
        yield from (".PP", *_line(does[:1].upper() + does[1:] + "."))
    else:
        for paragraph in verb.help.split("\n"):
            yield from (".PP", *roff.lines(roff.plain(paragraph)))
    for option in verb.options:
        yield from _option(option)
    if status:
        yield from (".PP", "Exit status:", *_line(status + "."))


def _option(option: OptionWords) -> Iterator[str]:
    value = f" \\fI{roff.literal(option.shown)}\\fR" if option.shown else ""
    yield ".TP"
    yield ", ".join(f"{roff.bold(name)}{value}" for name in option.names)
    yield from roff.lines(roff.plain(option.help) or "\\&")


def configuration_page(configuration: str) -> str:
    """agent.yaml(5), from docs/configuration.md."""
    lines = [*_head("agent.yaml", 5, "configuration of hsm\\-agent"), ".SH DESCRIPTION", *roff.body(configuration)]
    return "\n".join([*lines, ".SH SEE ALSO", ".BR hsm\\-agent (1)", ""])


def pages(top: VerbWords, documents: Mapping[str, str]) -> dict[str, str]:
    """Both pages by their path below `share`; `documents` are the pages of docs/ by name."""
    return {
        "man/man1/hsm-agent.1": command_page(top, documents["operations.md"]),
        "man/man5/agent.yaml.5": configuration_page(documents["configuration.md"]),
    }
