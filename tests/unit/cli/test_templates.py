"""`templates`: what it writes where, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from hsm_agent.cli.main import cli
from hsm_agent.templates import NAMES, write
from hsm_agent.templates.objects import dotted
from hsm_agent.wire.snmp.mib import BASE

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

OWN = "1.3.6.1.4.1.32473.1"


def templates(*words: object) -> Result:
    return CliRunner().invoke(cli, ["templates", *map(str, words)])


def held(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_written_and_named(name: str, tmp_path: Path) -> None:
    result = templates(name, "--base", OWN, "--to", tmp_path / "new" / "folder")

    files = write(name, OWN)
    assert result.exit_code == 0
    assert held(tmp_path / "new" / "folder") == files
    assert result.output.splitlines() == [f"wrote {tmp_path}/new/folder/{path}" for path in files]


def test_others_can_read_them_and_what_was_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "snmptt.hsm-agent.new").write_text("mine")
    _, _, result = [templates("snmptt", "--base", base, "--to", tmp_path) for base in ("1.3.6.1.4.1.1", OWN, OWN)]

    (path,) = (tmp_path / name for name in write("snmptt", OWN))
    assert path.stat().st_mode & 0o777 == 0o644
    assert held(tmp_path) == {
        path.name: write("snmptt", OWN)[path.name],
        f"{path.name}.old": write("snmptt", "1.3.6.1.4.1.1")[path.name],
        "snmptt.hsm-agent.new": "mine",
    }
    assert result.output == f"wrote {path}\n"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (name,) = write("snmptt", OWN)
    (tmp_path / "victim").write_text("mine")
    (tmp_path / name).symlink_to("victim")
    result = templates("snmptt", "--base", OWN, "--to", tmp_path)

    assert (tmp_path / "victim").read_text() == "mine"
    assert f"what was there is {tmp_path / name}.old now" in result.output


def test_the_configured_base_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(f"serve: {{snmp: {{base_oid: {OWN}, users: [unread]}}}}\n")
    result = templates("snmptt", "--to", tmp_path / "to", "-c", file)

    assert (result.exit_code, held(tmp_path / "to")) == (0, write("snmptt", OWN))


@pytest.mark.parametrize("text", ["", "serve:\n", "serve: {snmp: null}\n", "serve: {snmp: {}}\n", "serve: []\n"])
def test_a_configuration_that_names_none_has_the_default(text: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    result = templates("snmptt", "--to", tmp_path / "to", "-c", file)

    assert (result.exit_code, held(tmp_path / "to")) == (0, write("snmptt", dotted(BASE)))


def test_without_any_configuration_it_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = templates("snmptt", "--to", "to")

    assert (result.exit_code, held(tmp_path / "to")) == (0, write("snmptt", dotted(BASE)))


@pytest.mark.parametrize("base", ["x", "", "1.3", "1.3.6.1.4.1", "1.3.6.1.4.1.4294967296", "1.3.6.1.4.1." + "1." * 60])
def test_a_bad_base_is_refused_and_nothing_written(base: str, tmp_path: Path) -> None:
    result = templates("snmptt", "--base", base, "--to", tmp_path / "to")

    assert (result.exit_code, (tmp_path / "to").exists()) == (2, False)
    assert "--base: " in result.stderr


def test_a_bad_base_of_the_configuration_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("serve: {snmp: {base_oid: 1.3}}\n")
    result = templates("snmptt", "--to", tmp_path / "to", "-c", file)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"hsm-agent: {file}: serve.snmp.base_oid: 1.3: the base must lie below enterprises")


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert templates("snmptt", "--to", tmp_path, "-c", tmp_path / "none.yaml").exit_code == 2


def test_a_folder_that_takes_no_file_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = templates("snmptt", "--base", OWN, "--to", tmp_path / "file" / "below")

    assert result.exit_code == 1
    assert result.stderr == f"hsm-agent: --to: {tmp_path}/file/below: Not a directory\n"


def test_a_base_that_is_too_long_for_a_tool_is_refused(tmp_path: Path) -> None:
    result = templates("zabbix", "--base", OWN + ".4294967295" * 5, "--to", tmp_path)

    assert result.exit_code == 1
    assert "the base is too long: Zabbix takes 512 characters" in result.output
    assert list(tmp_path.iterdir()) == []
