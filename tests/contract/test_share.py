"""What stands below share/ is what the code and the documentation make today, and the package installs all of it."""

from __future__ import annotations

import shutil
import tomllib
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from hsm_agent.cli.command_line import Takes, verb_words
from hsm_agent.cli.main import cli
from hsm_agent.cli.options import schema_file
from hsm_agent.cli.shared_files import COMPLETIONS, main, shared_files
from tests.peers.require import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SHARE = ROOT / "share"


MADE = shared_files(ROOT)


@pytest.mark.parametrize("name", [*MADE])
def test_a_shared_file_is_what_scripts_share_makes(name: str) -> None:
    assert (SHARE / name).read_text(encoding="utf-8") == MADE[name], "run scripts/share"


def test_nothing_else_is_shared_and_a_package_installs_all_of_it() -> None:
    there = {path.relative_to(SHARE).as_posix() for path in SHARE.rglob("*") if path.is_file()}
    installed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["data-files"]

    assert there == set(MADE)
    assert {f"share/{name}" for name in there} <= {file for files in installed.values() for file in files}


def test_the_command_line_as_data_has_every_verb_and_option() -> None:
    found = {" ".join(verb.path): {n for o in verb.options for n in o.names} for verb in verb_words(cli).walk()}

    def compare(command: click.Command, path: tuple[str, ...]) -> None:
        names = {name for each in command.params if isinstance(each, click.Option) for name in each.opts}
        assert names - {"words"} <= found[" ".join(path)]
        for word, below in (command.commands if isinstance(command, click.Group) else {}).items():
            compare(below, (*path, word))

    compare(cli, ())
    assert {"-p", "--module", "--metric", "-w", "-c", "-t", "-v", "--help"} <= found["check"]


def test_what_an_option_takes_is_known() -> None:
    verbs = {" ".join(verb.path): verb for verb in verb_words(cli).walk()}
    poll = {name: option for option in verbs["poll"].options for name in option.names}
    check = {name: option for option in verbs["check"].options for name in option.names}

    assert (poll["--record"].takes, poll["--format"].choices) == (Takes.DIRECTORY, ("table", "json"))
    assert (poll["--explain"].takes, poll["-h"].takes) == (Takes.NOTHING, Takes.NOTHING)
    assert (check["-p"].takes, check["-c"].takes, check["-v"].repeats) == (Takes.FILE, Takes.WORD, True)
    assert verbs["completion"].argument_choices == ("bash", "fish", "zsh")
    assert verbs["audit verify"].argument_takes is Takes.FILE


@pytest.mark.parametrize("words", [*(["completion", shell] for shell in COMPLETIONS), ["schema"]])
def test_a_verb_prints_what_is_shared(words: list[str]) -> None:
    file = COMPLETIONS.get(words[-1], "schema/agent.schema.json")

    assert CliRunner().invoke(cli, words).output == (SHARE / file).read_text(encoding="utf-8")


def test_an_installed_schema_is_looked_for_below_the_prefix(tmp_path: Path) -> None:
    assert schema_file(tmp_path / "site-packages" / "hsm_agent").parts[-3:] == (
        "share",
        "hsm-agent",
        "agent.schema.json",
    )


def test_all_is_written_into_a_checkout(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    main(tmp_path)

    assert {name: (tmp_path / "share" / name).read_text(encoding="utf-8") for name in MADE} == MADE
