"""The verbs: every one has its help, takes --config, and says its errors in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hsm_agent.cli.main import cli, mib_file, mib_text, run_demo


def _verbs(group: click.Group = cli, prefix: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name, command in group.commands.items():
        found.append(((*prefix, name), command))
        if isinstance(command, click.Group):
            found += _verbs(command, (*prefix, name))
    return found


def test_the_verbs_are_those_promised() -> None:
    assert {" ".join(words) for words, _ in _verbs()} == {
        "run", "check-config", "poll", "status", "test-notification", "alarms", "alarms list", "alarms forget",
        "silence", "silence list", "silence end", "resend", "spool", "spool list", "spool show", "spool drop", "mib",
        "demo", "check", "audit", "audit verify", "audit dump",
        "completion", "templates", "schema", "setup", "fleet", "group", "group status", "group yield",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(w, c, id=" ".join(w)) for w, c in _verbs() if w != ("check",)]
)
def test_every_verb_has_help_and_takes_a_configuration(words: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(cli, [*words, "--help"])

    assert result.exit_code == 0
    assert command.help
    if not isinstance(command, click.Group) or words == ("silence",):
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"-c", "--config"} <= options


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(cli, ["--version"])

    assert (result.exit_code, result.output) == (0, "hsm-agent 0.1.0\n")


@pytest.mark.parametrize("verb", ["run", "check-config", "poll"])
def test_a_bad_configuration_is_2_and_a_line_for_each_error(verb: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("agnt: {}\nsources: [{name: a, kind: pkcs11, modul: /m, module: /m}]\n")
    result = CliRunner().invoke(cli, [verb, "--config", str(file)])

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"hsm-agent: {file}: sources.0.modul: unknown key, did you mean 'module'?",
        f"hsm-agent: {file}: agnt: unknown key, did you mean 'agent'?",
    ]


@pytest.mark.parametrize("verb", ["status", "test-notification"])
def test_a_verb_for_the_running_agent_reads_no_more_than_where_it_is(verb: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("agnt: {}\nsources: [{name: a, kind: pkcs11, modul: /m, module: /m}]\n")
    result = CliRunner().invoke(cli, [verb, "--config", str(file)])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"hsm-agent: {file}: agnt: unknown key, did you mean 'agent'?\n"


def test_a_verb_for_the_running_agent_says_that_there_is_none(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("")
    result = CliRunner().invoke(cli, ["status", "-c", str(file)])

    assert result.exit_code == 1
    assert result.stderr == f"hsm-agent: the agent is not running (nothing listens at {tmp_path / 'var' / 'control'})\n"


def test_a_silence_needs_a_while_and_a_reason() -> None:
    assert CliRunner().invoke(cli, ["silence", "--reason", "x"]).exit_code == 2
    assert CliRunner().invoke(cli, ["silence", "--for", "soon", "--reason", "x"]).exit_code == 2


def test_a_plugin_check_has_its_own_exit_codes() -> None:
    assert CliRunner().invoke(cli, ["check"]).exit_code == 3
    assert CliRunner().invoke(cli, ["check", "--help"]).exit_code == 3


def test_the_mib_is_printed_and_rooted() -> None:
    assert "HSM-AGENT-MIB DEFINITIONS" in CliRunner().invoke(cli, ["mib"]).output
    assert CliRunner().invoke(cli, ["mib", "--base", "x"]).exit_code == 2


def test_the_mib_is_printed_as_it_is_or_rooted_elsewhere() -> None:
    text = mib_text(None)

    assert text == mib_file().read_text(encoding="utf-8")
    assert "99999" in mib_text("1.3.6.1.4.1.99999.1")


def test_the_mib_is_rooted_where_the_configuration_says(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("serve: {snmp: {base_oid: 1.3.6.1.4.1.99999.1, users: [unread]}}\n")

    assert CliRunner().invoke(cli, ["mib", "-c", str(file)]).output == mib_text("1.3.6.1.4.1.99999.1")
    asked = CliRunner().invoke(cli, ["mib", "-c", str(file), "--base", "1.3.6.1.4.1.99999.2"])
    assert asked.output == mib_text("1.3.6.1.4.1.99999.2")


def test_a_configuration_named_for_the_mib_must_be_good_and_another_need_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    file = tmp_path / "conf" / "agent.yaml"
    file.write_text("serve: {snmp: {base_oid: 1.3}}\n")
    monkeypatch.chdir(tmp_path)

    found = CliRunner().invoke(cli, ["mib"])

    assert CliRunner().invoke(cli, ["mib", "-c", str(file)]).exit_code == 2
    assert (found.exit_code, found.stdout) == (0, mib_text(None))
    assert "must lie below enterprises" in found.stderr
    assert "the MIB is rooted at its default" in found.stderr


def test_an_installed_package_has_it_below_its_prefix(tmp_path: Path) -> None:
    assert mib_file(tmp_path / "hsm_agent") == Path(sys.prefix) / "share" / "snmp" / "mibs" / "HSM-AGENT-MIB.txt"


def test_without_a_checkout_the_demonstration_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_demo(tmp_path / "hsm_agent")
    assert capsys.readouterr().err == "hsm-agent: the demonstration needs a source checkout: run scripts/demo there\n"
