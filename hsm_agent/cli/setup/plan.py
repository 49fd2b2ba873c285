"""What will be written: a configuration as it would be written by hand, and the secrets beside it. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

CONFIGURATION = "agent.yaml"
_BARE = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS_OF_YAML = {"true", "false", "null"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSource:
    """A module to be watched; `seen` are its tokens as they were found, for a comment."""

    name: str
    module: Path
    environment: Mapping[str, str]
    tokens: tuple[str, ...]
    seen: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """A secret that goes into a file of this name; `is_made` where setup made it up, and the receiver must be told."""

    name: str
    value: str = field(repr=False)
    is_made: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupPlan:
    """Everything that was asked or given.

    `agent`, `sinks` and `snmp` are keys of the configuration; a secret in them is `secret_reference(NAME)`.
    """

    agent: Mapping[str, object]
    sources: Sequence[PlannedSource]
    sinks: Sequence[Mapping[str, object]]
    snmp: Mapping[str, object]
    http_listen: str
    secrets: Sequence[NewSecret]
    schema: Path | None
    date: str


def secret_reference(name: str) -> dict[str, str]:
    """What stands in a plan for a secret; `render` makes the file's path of it."""
    return {"secret": name}


def render(plan: SetupPlan, secrets: Path) -> str:
    """The configuration; `secrets` is the folder where its secrets are."""
    return "\n".join([*_lines(plan, secrets), ""])


def _lines(plan: SetupPlan, secrets: Path) -> Iterator[str]:
    if plan.schema is not None:
        yield f"# yaml-language-server: $schema={plan.schema}"
    yield f"# Written by hsm-agent setup, {plan.date}. Every key: agent.yaml(5), docs/configuration.md."
    yield "# After a change: hsm-agent check-config, then a SIGHUP (systemctl reload hsm-agent)."
    yield ""
    yield "agent:"
    if "name" not in plan.agent:
        yield "  # name: hsm-monitor-1     # origin of every event; default: the host's name"
    yield from (f"  {key}: {_flow(value)}" for key, value in plan.agent.items())
    yield from (
        "",
        "# What is watched. Tokens are globs on label or serial; one without a wildcard is missed when gone.",
    )
    yield "sources:" if plan.sources else "sources: []"
    for source in plan.sources:
        yield from _source(source)
    yield from (
        "",
        "# The default rules are in force (docs/alarms.md). An entry of such a rule's name changes the keys it gives.",
        "rules: []",
        "  # - {name: token-memory, above: {warning: 75, critical: 90}}",
        "",
        "# What answers: SNMP GET to managers, HTTP to Prometheus.",
        "serve:",
        "  snmp:",
    )
    yield from _block(_placed(dict(plan.snmp), secrets), "    ")
    yield from (
        "  http:",
        f"    listen: {_flow(plan.http_listen)}",
        "",
        "# Who is told. `hsm-agent test-notification` tries it.",
    )
    yield "deliver:" if plan.sinks else "deliver: []"
    for sink in plan.sinks:
        yield from _entry(_placed(dict(sink), secrets), "  ")


def _source(source: PlannedSource) -> Iterator[str]:
    yield f"  - name: {_flow(source.name)}"
    yield "    kind: pkcs11"
    yield f"    module: {_flow(str(source.module))}"
    if source.environment:
        yield f"    environment: {_flow(dict(source.environment))}"
    for token in source.seen:
        yield f"    # seen: {one_line(token)}"
    yield f"    tokens: {_flow(list(source.tokens))}"
    yield "    every: 60s"


def _entry(value: object, margin: str) -> Iterator[str]:
    """An entry of a list."""
    first, *more = _block(value, f"{margin}  ")
    yield f"{margin}- {first.lstrip()}"
    yield from more


def _block(value: object, margin: str) -> Iterator[str]:
    """The keys of a group, a line each; a group of groups, and a list of groups, on lines of their own."""
    assert isinstance(value, dict)
    for key, each in value.items():
        if isinstance(each, dict) and any(isinstance(inner, dict) for inner in each.values()):
            yield f"{margin}{key}:"
            yield from _block(each, f"{margin}  ")
        elif isinstance(each, list) and any(isinstance(inner, dict) for inner in each):
            yield f"{margin}{key}:"
            for inner in each:
                yield from _entry(inner, f"{margin}  ")
        else:
            yield f"{margin}{key}: {_flow(each)}"


def _placed(value: object, secrets: Path) -> object:
    """The value with the path of each secret in place of its name."""
    if isinstance(value, dict):
        if value.keys() == {"secret"} and isinstance(value["secret"], str):
            return {"file": str(secrets / value["secret"])}
        return {key: _placed(each, secrets) for key, each in value.items()}
    return [_placed(each, secrets) for each in value] if isinstance(value, list) else value


def _flow(value: object) -> str:
    """A value on one line of YAML. What is not plainly a word is in quotes, as JSON has them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and _BARE.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    return json.dumps(value, ensure_ascii=True)
