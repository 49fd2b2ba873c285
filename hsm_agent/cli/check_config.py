"""`check-config`: what would be watched, whom it would be told, and what the receivers need to know."""

from __future__ import annotations

from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING

from hsm_agent.config.digest import group_digest
from hsm_agent.config.tree import is_through_group, tls_uses
from hsm_agent.evaluate.messages import counted
from hsm_agent.metrics import METRICS
from hsm_agent.metrics.group import GROUP
from hsm_agent.metrics.tables import AGENT
from hsm_agent.model import AGENT_SOURCE
from hsm_agent.state.snmp_engine import EngineStateError, settled_engine_id
from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hsm_agent.config.tree import Config, Loaded
    from hsm_agent.evaluate.rules import Match, Rule
    from hsm_agent.serve.settings import Hide


def describe(loaded: Loaded) -> Iterator[str]:
    """The lines of `check-config` for a valid configuration."""
    config = loaded.config
    yield f"{loaded.path}: valid, SHA-256 {loaded.digest}"
    yield f"agent {config.agent.name}, state in {config.agent.state_directory}"
    yield from _sources(config)
    yield from _hsms(config)
    yield from _rules(config)
    yield from _servers(config)
    yield from _sinks(config)
    if config.group is not None:
        yield from config.group.about(config.agent.name, group_digest(config))
        for sink in config.deliver:
            yield from (f"  warning: sink {sink.name}: {text}" for text in sink.warnings_in_group())
    if config.publish is not None:
        through_group = is_through_group(config.publish, config.group)
        yield from config.publish.about(config.agent.name, through_group=through_group)


def _sources(config: Config) -> Iterator[str]:
    if not config.sources:
        yield "no sources: nothing would be watched"
    for source in config.sources:
        first, *more = source.about()
        yield f"source {source.name}: {source.kind} {first}, every {source.every:g} s"
        yield from (f"  {line}" for line in more)


def _hsms(config: Config) -> Iterator[str]:
    for name, globs in config.hsms.items():
        unknown = [glob for glob in globs if not any(_is_at(glob, source.name) for source in config.sources)]
        lost = f" (no source matches {', '.join(unknown)})" if unknown else ""
        yield f"HSM {name}: {', '.join(globs)}{lost}"


def _is_at(glob: str, source: str) -> bool:
    return glob_matches(source, glob.partition("/")[0])


def _rules(config: Config) -> Iterator[str]:
    """What each rule watches, who brings that, and which rule it gives way to.

    A line for each rule that judges something, and for each that the configuration names. The other default rules
    come together: what nobody looks for must not hide what matters.
    """
    rules = config.effective_rules()
    named = {rule.name for rule in config.rules}
    produced = _brought(config)
    labels = {name: dict(given) for name, given in config.labels_by_source().items()}
    aside: dict[str, list[str]] = {}
    yield f"{counted(len(rules), 'rules')}:"
    for rule in rules:
        found = {
            source: told for source, told in _bringing(rule, produced).items() if _meant(rule.match, source, labels)
        }
        told = ", ".join(f"{source} ({when})" if when else source for source, when in found.items())
        told = f"from {told}" if told else "from no source of this configuration"
        if rule.name in named or "" in found.values():
            yield f"  {rule.name}: {_watched(rule)}; {told}{_gives_way(rule)}"
        else:
            aside.setdefault(told, []).append(f"{rule.name} ({_watched(rule)})")
    for told, together in aside.items():
        text = f"  {told}: {', '.join(together)}"
        yield from wrap(text, 118, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)


def _watched(rule: Rule) -> str:
    match, text = rule.match, ", ".join(rule.metrics)
    if (place := f"{match.source}/{match.resource}") != "*/*":
        text += f" of {place}"
    if match.labels:
        text += f" with {', '.join(f'{name}={glob}' for name, glob in match.labels)}"
    return text


def _gives_way(rule: Rule) -> str:
    if (way := rule.gives_way) is None:
        return ""
    on = f"on {way.metric} " if len(rule.metrics) > 1 else ""
    return f"; {on}gives way to {way.rule} on {way.to} where that reads as much or up to 5 points less"


def _brought(config: Config) -> dict[str, dict[str, str]]:
    """By source and metric: on what it depends whether the source brings it, in words or empty."""
    publishes = config.publish is not None
    own = [metric.name for metric in AGENT if publishes or not metric.name.startswith("publish_")]
    own += [] if config.group is None else [metric.name for metric in GROUP]
    with_tls = any(sink.own_tls() is not None for sink in config.deliver)
    with_tls = with_tls or any(tls_uses(config.publish, config.sources, config.group))
    if with_tls or (config.serve.http is not None and config.serve.http.web_config is not None):
        own += ["certificate_seconds_left", "certificate_info"]
    of_each = dict.fromkeys((name for name in METRICS if name.startswith("source_")), "")
    produced = {source.name: {**of_each, **source.metrics_produced()} for source in config.sources}
    return {**produced, AGENT_SOURCE: dict.fromkeys(own, "")}


def _bringing(rule: Rule, produced: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The sources that bring a metric of the rule; one condition is enough where several hold."""
    return {
        source: min(whens, key=len)
        for source, found in produced.items()
        if (whens := [found[metric] for metric in rule.metrics if metric in found])
    }


def _meant(match: Match, source: str, labels: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a rule looks at a source; labels that are not configured may be the readings' own."""
    given = labels.get(source, {})
    known = tuple((name, glob) for name, glob in match.labels if name in given)
    return replace(match, resource="*", labels=known).covers(source, "", tuple(given.items()))


def _servers(config: Config) -> Iterator[str]:
    if (snmp := config.serve.snmp) is not None:
        users = ", ".join(f"{user.name}{_hidden(user.hide)}" for user in snmp.users) or "none"
        hidden = "".join({_hidden(one.hide): None for one in snmp.communities if one.hide})
        communities = f"{len(snmp.communities) or 'none'}{hidden}"
        yield f"SNMP on {', '.join(snmp.listen)}: v3 users {users}; v2c communities {communities}"
    if (http := config.serve.http) is not None:
        yield f"HTTP on {http.listen}: / /metrics /healthz /readyz /api/v1/status{_hidden(http.hide)}"


def _hidden(hide: Hide | None) -> str:
    return f" (hides {', '.join(hide)})" if hide else ""


def _sinks(config: Config) -> Iterator[str]:
    engine_id, told = _engine_id(config)
    yield f"SNMP engine ID: {told}"
    if not config.deliver:
        yield "no sinks: nobody would be told"
    for sink in config.deliver:
        first, *more = sink.about(engine_id)
        yield f"sink {sink.name}: {sink.kind} {first}"
        yield from (f"  {line}" for line in more)


def _engine_id(config: Config) -> tuple[bytes | None, str]:
    configured = config.serve.snmp.engine_id if config.serve.snmp is not None else None
    try:
        found = configured or settled_engine_id(config.agent.state_directory)
    except EngineStateError as error:
        return None, str(error)
    return found, f"0x{found.hex()}" if found else "made at the first start, and kept (it can't be stored now)"
