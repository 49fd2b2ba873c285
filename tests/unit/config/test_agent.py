"""The section `agent` read alone: what `status` needs of a configuration whose secrets its user cannot read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hsm_agent.config.agent import AgentAlone, load_agent
from hsm_agent.config.tree import Config, load
from hsm_agent.settings.errors import ConfigError
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = """
serve:
  snmp:
    users:
      - {name: nms, auth: SHA-256, auth_passphrase: {credential: nms.auth}, priv: AES128, priv_passphrase: {file: gone}}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def put(text: str) -> Path:
        path = tmp_path / "agent.yaml"
        path.write_text(text)
        return path

    return put


def test_secrets_that_cannot_be_read_do_not_matter(write: Callable[[str], Path]) -> None:
    path = write("agent: {control_socket: run/control}\n" + SECRET)

    assert load_agent(path, {}).control_path == path.parent / "run" / "control"
    with pytest.raises(ConfigError):
        load(path, trusting())


def test_a_file_that_its_reader_could_change_is_fine_to_ask_with(write: Callable[[str], Path]) -> None:
    path = write("agent: {name: a}")
    path.chmod(0o666)

    assert load_agent(path, {}).name == "a"


@pytest.mark.parametrize("text", ["", "agent:", "sources: []", "agent: {name: a}"])
def test_defaults_are_those_of_the_whole(write: Callable[[str], Path], text: str) -> None:
    path = write(text)

    assert load_agent(path, {}) == load(path, trusting()).config.agent
    assert load_agent(path, {}).control_path == path.parent / "var" / "control"


def test_the_environment_overrides(write: Callable[[str], Path]) -> None:
    assert load_agent(write(SECRET), {"HSM_AGENT__AGENT__STATE_DIRECTORY": "/s"}).control_path == Path("/s/control")


def test_errors_name_the_place(write: Callable[[str], Path]) -> None:
    path = write("agent: {control_sock: x}")

    with pytest.raises(ConfigError) as caught:
        load_agent(path, {})
    assert caught.value.lines == (f"{path}: agent.control_sock: unknown key, did you mean 'control_socket'?",)


def test_sections_are_those_of_the_whole() -> None:
    assert set(AgentAlone.model_fields) == set(Config.model_fields)
