"""What `hsm-agent setup` refuses, and what it leaves then: nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from hsm_agent.cli.main import cli
from hsm_agent.cli.setup.account import run_verb, service_account
from hsm_agent.settings.trust import TRUSTED_UIDS
from tests.peers.softhsm import SoftHsm
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def setup(folder: Path, *words: str, typed: str = "") -> Result:
    return CliRunner().invoke(cli, ["setup", "--to", str(folder / "etc"), *words], input=typed)


@pytest.fixture
def softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    made = SoftHsm(tmp_path / "hsm")
    made.create_token("payments")
    for name, value in {**made.environment, TRUSTED_UIDS: str(os.geteuid())}.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--module", "/x.so", "--environment", "A"], "--environment A: write NAME=VALUE", id="a variable"),
        pytest.param(["--user", "nobody-at-all"], "--user nobody-at-all: ", id="an account"),
        pytest.param(["--config", "/x/other.yaml"], "--config: name a file agent.yaml", id="a file of another name"),
        pytest.param(["--yes", "--module", "/none.so"], "no token was found to watch", id="no module"),
    ],
)
def test_what_cannot_be_is_refused_at_once(words: list[str], message: str, tmp_path: Path) -> None:
    result = setup(tmp_path, *words)

    assert result.exit_code in {1, 2}
    assert message in result.stderr
    assert not (tmp_path / "etc").exists()


def test_a_module_that_hangs_is_named_and_another_is_watched(tmp_path: Path, softhsm: SoftHsm) -> None:
    hsm = FakeHsm(tmp_path / "fake", "one")
    hsm.fault("C_Initialize", hang_ms=60_000)
    variables = [word for name, value in hsm.environment.items() for word in ("--environment", f"{name}={value}")]
    modules = ["--module", str(hsm.module), "--module", str(softhsm.module)]
    result = setup(tmp_path, "--yes", "--timeout", "1s", *modules, *variables)

    assert result.exit_code == 0, result.output
    assert "skipped: C_Initialize" in result.output
    assert "check-config, as user " in result.output
    assert (tmp_path / "etc" / "agent.yaml").read_text().count("kind: pkcs11") == 1


def test_a_mistake_is_told_in_the_words_of_check_config(tmp_path: Path, softhsm: SoftHsm) -> None:
    result = setup(tmp_path, "--yes", "--module", str(softhsm.module), "--syslog-sink", "ftp:x:1")

    assert result.exit_code == 2
    assert "hsm-agent: agent.yaml: deliver.0.to: not an address: 'ftp:x:1'" in result.stderr
    assert not (tmp_path / "etc").exists()


def test_what_is_there_stays_unless_a_person_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "agent.yaml").write_text("mine")
    for result in (setup(tmp_path, "--yes"), setup(tmp_path, typed="\n")):
        assert result.exit_code == 1
        assert "there already; --force replaces" in result.stderr
    goes_on = setup(tmp_path, "--module", "/none.so", typed="y\n")

    assert "no token was found to watch" in goes_on.stderr
    assert (tmp_path / "etc" / "agent.yaml").read_text() == "mine"


def test_a_verb_that_does_not_end_is_ended() -> None:
    result = run_verb(service_account(None), ["mib"], seconds=0.01)

    assert (result.code, result.errors) == (124, ("no answer within 0.01 s",))
