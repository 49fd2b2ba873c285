"""The documentation: everything a user can name has its place in it, and what it names exists."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args
from urllib.parse import unquote

import click
import pytest
import yaml
from pydantic import TypeAdapter
from pydantic_core import PydanticUndefined

from hsm_agent.agent.reload import frozen_changes
from hsm_agent.cli.check import parser
from hsm_agent.cli.main import cli
from hsm_agent.collect.command.parsers import ParserName
from hsm_agent.collect.snmp.profile import names as profile_names
from hsm_agent.config.tree import Config, load
from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.defaults.first_steps import FIRST_STEPS
from hsm_agent.evaluate.rules import Above
from hsm_agent.metrics import METRICS
from hsm_agent.model import EventKind
from hsm_agent.wire.snmp.mib import NOTIFICATIONS, TABLES
from tests.fakes.sample_configuration import ROOT, Option, copy_to, every_option
from tests.peers import pki
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "init" / "README.md", *(ROOT / "integrations").rglob("*.md")]
)
SECTIONS = {
    "Top level": "",
    "agent": "agent.",
    "sources: pkcs11": "sources[pkcs11].",
    "sources: command": "sources[command].",
    "sources: snmp": "sources[snmp].",
    "sources: certificate": "sources[certificate].",
    "sources: canary": "sources[canary].",
    "sources: declared": "sources[declared].",
    "sources: audit_trail": "sources[audit_trail].",
    "sources: cloudwatch": "sources[cloudwatch].",
    "sources: fleet": "sources[fleet].",
    "sources: process_log": "sources[process_log].",
    "sources: snmp_trap_listener": "sources[snmp_trap_listener].",
    "publish": "publish.",
    "group": "group.",
    "rules": "rules.",
    "serve": "serve.",
    "serve.snmp": "serve.snmp.",
    "serve.http": "serve.http.",
    "deliver: snmp": "deliver[snmp].",
    "deliver: syslog": "deliver[syslog].",
    "deliver: alertmanager": "deliver[alertmanager].",
    "deliver: webhook": "deliver[webhook].",
}
"""Headings of docs/configuration.md, and where their keys stand in the configuration."""

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_ROW = re.compile(r"^\| `([^`]+)` \|(.*)\|$", re.MULTILINE)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SCRIPT = re.compile(r"(?<![\w/.-])(?:scripts|\.ci)/[a-z]+")


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text(path))


def section(page: str, heading: str) -> str:
    """What stands under a heading, to the next one of any level."""
    found = re.search(rf"^#+ +{re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no heading {heading!r}"
    return found[1]


def rows(page: str) -> dict[str, list[str]]:
    """Rows of the tables whose first cell is in backticks: that cell, and the others."""
    return {found[1]: [cell.strip() for cell in found[2].split("|")] for found in _ROW.finditer(page)}


def headings(path: Path) -> set[str]:
    """Anchors, as the usual renderers make them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        for heading in _HEADING.findall(prose(path))
    }


# Links


def links() -> Iterator[Any]:
    for page in PAGES:
        for target in dict.fromkeys(_LINK.findall(prose(page))):
            if "://" not in target:
                yield pytest.param(page, target, id=f"{page.relative_to(ROOT)} to {target}")


@pytest.mark.parametrize(("page", "target"), [*links()])
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    name, _, anchor = unquote(target).partition("#")
    aim = (page.parent / name).resolve() if name else page

    assert aim.exists()
    assert not anchor or anchor in headings(aim)


# The configuration


@cache
def documented() -> dict[str, list[str]]:
    page = text(DOCS / "configuration.md")
    return {f"{prefix}{key}": cells for name, prefix in SECTIONS.items() for key, cells in rows(section(page, name)).items()}  # fmt: skip


def test_every_configuration_key_has_its_row_and_no_other_has() -> None:
    assert set(documented()) == {option.place for option in every_option()}


def _leaves() -> Iterator[Any]:
    for option in every_option():
        if option.leaf and option.place not in {"sources", "rules", "deliver"}:
            yield pytest.param(option, id=option.place)


@pytest.mark.parametrize("option", [*_leaves()])
def test_a_default_is_what_the_table_says(option: Option) -> None:
    said = documented()[option.place][1]

    if option.field.is_required():
        assert said == "required"
    elif option.field.default_factory is not None and not said.startswith("`{"):
        assert said  # it depends on the host
    elif option.place.startswith("rules.metric"):
        assert said == "the default rule's"
    else:
        assert said.startswith("`")
        assert said.endswith("`")
        assert _parsed(option, said.strip("`")) == _default(option)


def _parsed(option: Option, said: str) -> Any:
    if said == "null":
        return None
    annotation: Any = option.field.annotation
    for each in option.field.metadata:
        annotation = Annotated[annotation, each]
    return TypeAdapter(annotation).validate_python(yaml.safe_load(said), context={"base": "/"})


def _default(option: Option) -> Any:
    default = option.field.get_default(call_default_factory=True)
    assert default is not PydanticUndefined
    return default


def examples() -> Iterator[Any]:
    for page in PAGES:
        for language, block in _FENCE.findall(text(page)):
            if language == "yaml" and set(yaml.safe_load(block)) <= set(Config.model_fields):
                yield pytest.param(block, id=f"{page.name}: {block.splitlines()[1].strip()}")


@pytest.mark.parametrize("block", [*examples()])
def test_an_example_loads(block: str, tmp_path: Path) -> None:
    pki.make(tmp_path)
    path = copy_to(tmp_path, re.findall(r"file: (conf/secrets/[\w.]+)", block))
    path.chmod(0o644)
    path.write_text(block, encoding="utf-8")

    assert load(path, trusting()).config.model_fields_set - {"agent"} == set(yaml.safe_load(block)) - {"agent"}


def test_the_keys_that_need_a_restart_are_told() -> None:
    old = Config.model_validate({"agent": {"name": "a"}})
    agent = {"name": "b", "state_directory": "/b", "control_socket": "/b/control", "enterprise_id": 1}
    group = {"name": "emea", "etcd": {"endpoints": ["http://127.0.0.1:2379"]}}
    serve = {"snmp": {"base_oid": "1.3.6.1.3.1", "engine_id": "0102030405"}}
    new = Config.model_validate({"agent": agent, "group": group, "serve": serve})
    off = Config.model_validate({"agent": {"name": "a"}, "serve": {"snmp": None}})
    refused = {line.partition(":")[0] for line in [*frozen_changes(old, new), *frozen_changes(old, off)]}
    part = section(text(DOCS / "operations.md"), "Reload").partition("need a restart")[2]

    assert set(re.findall(r"`([\w.]+)`", part)) - {"group.etcd"} == refused  # the one exception of a section


# Metrics


def test_every_metric_has_its_row_with_its_unit_and_type_and_no_other_has() -> None:
    listed = rows(text(DOCS / "metrics.md"))
    said = {name: (cells[0], cells[1]) for name, cells in listed.items() if re.fullmatch(r"[a-z_]+", name)}

    assert said == {metric.name: (metric.unit, metric.type) for metric in METRICS.values()}


def test_nothing_is_told_twice_in_a_reference() -> None:
    """What two branches both added merges without a conflict."""
    metrics = re.findall(r"^\| `([a-z_]+)` \|", text(DOCS / "metrics.md"), re.MULTILINE)
    rules = re.findall(r"^### (.+)$", text(DOCS / "alarms.md"), re.MULTILINE)
    firsts = [part.count("**First** ") for part in text(DOCS / "alarms.md").split("\n### ")[1:]]

    assert sorted(metrics) == sorted(set(metrics))
    assert sorted(rules) == sorted(set(rules))
    assert set(firsts) == {1}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_a_heading_stands_alone(page: Path) -> None:
    assert re.findall(r"[^\n]\n(#{2,4} .+)", prose(page)) == []


@pytest.mark.parametrize("place", ["docs/sources/command.md", "docs/configuration.md", "conf/agent.yaml"])
def test_every_parser_is_named(place: str) -> None:
    named = set(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)+|regex", text(ROOT / place)))

    assert set(get_args(ParserName)) <= named


@pytest.mark.parametrize("place", ["docs/sources/snmp.md", "conf/agent.yaml"])
def test_every_profile_is_named(place: str) -> None:
    assert set(profile_names()) <= set(re.findall(r"[a-z]+(?:-[a-z]+)*", text(ROOT / place)))


# Rules


def test_every_default_rule_has_its_heading_and_metrics() -> None:
    page = text(DOCS / "alarms.md")

    for rule in DEFAULT_RULES:
        part = section(page, rule.name)
        assert all(f"`{metric}`" in part for metric in rule.metrics), rule.name
        assert "**First** " in part, f"{rule.name}: what to do first"
        if isinstance(rule.condition, Above) and rule.metrics[0].endswith("_percent"):
            levels = (("warning", rule.condition.warning), ("critical", rule.condition.critical))
            assert all(f"{word} {level:g} %" in part for word, level in levels if level is not None), rule.name


def test_the_first_step_of_a_rule_is_the_one_that_the_agent_shows() -> None:
    """`alarms.md` and the table behind the status page and `status --watch` say the same, links and breaks aside."""
    page = text(DOCS / "alarms.md")
    said = {}
    for rule in DEFAULT_RULES:
        step = re.sub(
            r"\[([^\]]+)\]\([^)]+\)", r"\1", section(page, rule.name).split("**First** ")[1].replace("\n", " ")
        )
        said[rule.name] = step.strip()

    assert said == FIRST_STEPS


def test_what_a_first_step_names_is_there() -> None:
    pages = {page.name for page in DOCS.rglob("*.md")}

    for rule, step in FIRST_STEPS.items():
        assert set(re.findall(r"[a-z_]+\.md", step)) <= pages, rule
        for words in re.findall(r"`hsm-agent ([^`]+)`", step):
            command: click.Command = cli
            for word in words.split():
                if not isinstance(command, click.Group):
                    break
                command = command.commands[word]
            options = {name for each in command.params for name in each.opts}
            assert {word for word in words.split() if word.startswith("--")} <= options, rule


def test_the_rules_with_a_heading_exist() -> None:
    names = {rule.name for rule in DEFAULT_RULES}
    after = text(DOCS / "alarms.md").split("## Default rules\n")[1].split("\n## ")[0]

    assert set(re.findall(r"^### (.+)$", after, re.MULTILINE)) == names


def test_a_number_of_default_rules_is_the_number_there_are() -> None:
    said = {page.name: set(re.findall(r"\b(\d+) default rules\b", text(page))) for page in PAGES}

    assert {name for name, numbers in said.items() if numbers - {str(len(DEFAULT_RULES))}} == set()
    assert said["alarms.md"]
    assert said["CHANGELOG.md"]


# The changelog


def entries() -> list[str]:
    """Every bullet of the changelog, those of a second level too, as one line."""
    return [" ".join(entry.split()) for entry in re.findall(r"^ *- (.+(?:\n(?! *-|\n).+)*)", text(ROOT / "CHANGELOG.md"), re.MULTILINE)]  # fmt: skip


def test_the_changelog_has_no_entry_twice() -> None:
    """What two branches both added merges without a conflict."""
    leads = [found[1] for entry in entries() if (found := re.match(r"\*\*(.+?)\*\*", entry))]
    beginnings = [entry[:40] for entry in entries()]

    assert len(leads) > 3
    assert sorted(leads) == sorted(set(leads))
    assert sorted(beginnings) == sorted(set(beginnings))


def test_the_changelog_names_a_metric_rule_or_key_once_as_new() -> None:
    listed = [name for entry in entries() if re.match(r"(Metrics|Default rules|Keys)\b", entry) for name in re.findall(r"`([a-z_.-]+)`", entry)]  # fmt: skip
    new = {name for name in listed if name in METRICS or name in {rule.name for rule in DEFAULT_RULES}}

    assert len(new) > 20
    assert [name for name in new if listed.count(name) > 1] == []


def test_an_entry_of_the_changelog_ends_as_a_sentence_does() -> None:
    assert [entry for entry in entries() if not entry.endswith((".", ":"))] == []


# Command line


def verbs(group: click.Group = cli, before: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[f"{before}{name}"] = command
        if isinstance(command, click.Group):
            found |= verbs(command, f"{before}{name} ")
    return found


def test_every_verb_and_each_of_its_options_stands_in_operations() -> None:
    page = section(text(DOCS / "operations.md"), "Verbs")
    told = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}

    for name, command in verbs().items():
        lines = [line for line in told if line == name or line.startswith(f"{name} ")]
        assert lines, name
        own = [option for each in command.params for option in each.opts if option.startswith("--")]
        shared = {"--config", "--help", "--format"}
        assert all(any(option in line for line in lines) for option in own if option not in shared), name


def test_every_option_of_check_stands_in_nagios() -> None:
    page = text(DOCS / "nagios.md")

    for action in parser()._actions:
        named = action.option_strings or [str(action.metavar)]
        assert any(f"`{option}" in page for option in named), named


def commands() -> Iterator[Any]:
    for page in PAGES:
        for language, block in _FENCE.findall(text(page)):
            for line in block.replace("\\\n", " ").splitlines() if language == "sh" else ():
                if re.match(r"\s*(\S*/)?hsm-agent [a-z-]", line):
                    yield pytest.param(line, id=f"{page.relative_to(ROOT)}: {line.strip()}")


@pytest.mark.parametrize("line", [*commands()])
def test_a_command_that_is_shown_is_one_that_exists(line: str) -> None:
    words = shlex.split(line.split(" | ", maxsplit=1)[0], comments=True)
    name, rest = _verb(words[1:])
    if name == "check":
        parser().parse_args(rest)
        return
    command = verbs()[name]
    given = {word.split("=")[0] for word in rest if word.startswith("-")}
    known = {option for each in command.params for option in each.opts} | {"--help"}

    assert given <= known


def _verb(words: list[str]) -> tuple[str, list[str]]:
    pair = " ".join(words[:2])
    return (pair, words[2:]) if pair in verbs() else (words[0], words[1:])


def test_every_script_that_is_named_exists() -> None:
    named = {(page.name, script) for page in PAGES for script in _SCRIPT.findall(text(page))}

    assert [each for each in sorted(named) if not (ROOT / each[1]).exists()] == []


# SNMP and syslog


def test_every_table_notification_and_event_kind_is_told() -> None:
    snmp, syslog = text(DOCS / "snmp.md"), text(DOCS / "syslog.md")

    assert [table.name for table in TABLES if f"`{table.name}Table`" not in snmp] == []
    assert [kind.value for kind in EventKind if f"`{kind.value}`" not in syslog] == []
    assert len(NOTIFICATIONS) == len(re.findall(r"^\| `\.0\.\d+` \|", snmp, re.MULTILINE))


def test_pages_name_no_place_of_one_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(?:root|work)/", text(page)), page
