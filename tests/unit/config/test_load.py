"""Reading a configuration: defaults, paths, overrides, and files that must not be trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hsm_agent.collect.pkcs11.source import Pkcs11Settings
from hsm_agent.config.tree import Loaded, load
from hsm_agent.settings.errors import ConfigError
from tests.peers.rights import needs_root
from tests.peers.trusted import trusting

SOURCE = "sources: [{name: a, kind: pkcs11, module: lib/module.so}]\n"


def _write(folder: Path, text: str, name: str = "agent.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _lines(path: Path, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, trusting(**(environment or {})))
    return caught.value.lines


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    config = load(_write(tmp_path, "# nothing\n"), trusting()).config

    assert config.sources == ()
    assert config.agent.spool.entries == 100_000
    assert config.agent.spool.size == 64 * 1024 * 1024
    assert config.serve.snmp is not None
    assert config.serve.snmp.listen == ("udp:127.0.0.1:1161",)


def test_what_is_left_blank_is_as_not_given(tmp_path: Path) -> None:
    blank = "".join(f"{key}:\n" for key in ("agent", "sources", "hsms", "rules", "serve", "deliver"))

    assert load(_write(tmp_path, blank), trusting()).config == load(_write(tmp_path, ""), trusting()).config


def test_what_is_no_section_is_not_one_because_it_is_blank(tmp_path: Path) -> None:
    (line,) = _lines(_write(tmp_path, "delivr:\n"))

    assert "delivr: unknown key" in line


def _only(loaded: Loaded) -> Pkcs11Settings:
    source = loaded.config.sources[0]
    assert isinstance(source, Pkcs11Settings)
    return source


def test_words_of_older_yaml_are_words(tmp_path: Path) -> None:
    text = "sources: [{name: on, kind: pkcs11, module: /m, luna: off, inventory_at: 01:30}]\n"
    source = _only(load(_write(tmp_path, text), trusting()))

    assert source.name == "on"
    assert source.luna == "off"
    assert (source.inventory_at.hour, source.inventory_at.minute) == (1, 30)


def test_relative_paths_start_at_the_files_folder_or_above_conf(tmp_path: Path) -> None:
    beside = load(_write(tmp_path / "etc", SOURCE), trusting())
    above = load(_write(tmp_path / "conf", SOURCE), trusting())

    assert _only(beside).module == tmp_path / "etc" / "lib" / "module.so"
    assert _only(above).module == tmp_path / "lib" / "module.so"
    assert above.config.agent.state_directory == tmp_path / "var"


def test_systemd_names_the_state_and_runtime_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/hsm-agent")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/hsm-agent")
    agent = load(_write(tmp_path, ""), trusting()).config.agent

    assert agent.state_directory == Path("/var/lib/hsm-agent")
    assert agent.control_path == Path("/run/hsm-agent/control")


def test_any_key_can_be_overridden_from_the_environment(tmp_path: Path) -> None:
    environment = {
        "HSM_AGENT__AGENT__NAME": "elsewhere",
        "HSM_AGENT__SOURCES__0__EVERY": "5s",
        "HSM_AGENT__SOURCES__0__TOKENS": "[a, b]",
        "HSM_AGENT__SOURCES__1__NAME": "b",
        "HSM_AGENT__SOURCES__1__KIND": "pkcs11",
        "HSM_AGENT__SOURCES__1__MODULE": "/m",
        "HSM_AGENT__SERVE__HTTP": "null",
    }
    config = load(_write(tmp_path, SOURCE), trusting(**environment)).config

    assert config.agent.name == "elsewhere"
    assert [source.name for source in config.sources] == ["a", "b"]
    assert config.sources[0].every == 5.0
    assert [getattr(source, "tokens", None) for source in config.sources] == [("a", "b"), ("*",)]
    assert config.serve.http is None


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        pytest.param("HSM_AGENT__AGENT__NAM", "x", "agent.nam: unknown key, did you mean 'name'?", id="unknown key"),
        pytest.param("HSM_AGENT__SOURCES__0__EVERY", "5", "sources.0.every: not a duration", id="no duration"),
        pytest.param("HSM_AGENT__SOURCES__0", "{name: a}", "sources.0.kind: required key is missing", id="an entry"),
        pytest.param("HSM_AGENT__SOURCES__1__NAME", "b", "sources.1.kind: required key is missing", id="a new entry"),
        pytest.param("HSM_AGENT__SERVE__HTTP__PORT", "1", "serve.http.port: unknown key", id="a new section"),
    ],
)
def test_an_override_is_judged_like_the_file_and_named(tmp_path: Path, variable: str, value: str, said: str) -> None:
    (line,) = _lines(_write(tmp_path, SOURCE), {variable: value})

    assert line.startswith(f"environment {variable}: {said}")


def test_what_the_file_says_wrongly_is_the_files_fault_beside_an_override(tmp_path: Path) -> None:
    path = _write(tmp_path, SOURCE.replace("module:", "modul:"))

    lines = _lines(path, {"HSM_AGENT__SOURCES__0__EVERY": "5s"})

    assert [line.split(": ")[0] for line in lines] == [str(path)] * 2


@needs_root
def test_a_module_that_an_override_names_is_refused_by_that_name(tmp_path: Path) -> None:
    module = _write(tmp_path / "lib", "", "other.so")
    os.chown(module, 4711, 0)

    (line,) = _lines(_write(tmp_path, SOURCE), {"HSM_AGENT__SOURCES__0__MODULE": str(module)})

    assert line.startswith("environment HSM_AGENT__SOURCES__0__MODULE: sources.0.module: ")


def test_what_others_can_write_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, SOURCE)
    path.chmod(0o646)
    (line,) = _lines(path)
    assert "can be written by others" in line

    path.chmod(0o644)
    module = _write(tmp_path / "lib", "", "module.so")
    module.chmod(0o777)
    (line,) = _lines(path)
    assert "sources.0.module" in line


def test_a_file_that_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    (line,) = _lines(tmp_path / "gone")
    assert "No such file" in line


def test_a_folder_that_others_can_write_is_refused_even_while_the_module_is_missing(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib").chmod(0o777)

    (line,) = _lines(_write(tmp_path, SOURCE))

    assert line.startswith(f"{tmp_path}/agent.yaml: sources.0.module: {tmp_path}/lib can be written by others")


@needs_root
@pytest.mark.parametrize("path", ["agent.yaml", "lib/module.so", "lib"])
def test_what_belongs_to_somebody_else_is_refused_until_he_is_trusted_outside_the_file(
    tmp_path: Path, path: str
) -> None:
    file = _write(tmp_path, SOURCE)
    _write(tmp_path / "lib", "", "module.so")
    os.chown(tmp_path / path, 4711, 0)

    (line,) = _lines(file)

    assert f"{tmp_path / path} belongs to user 4711" in line
    assert load(file, trusting(HSM_AGENT_TRUSTED_UIDS="4711,0"))


def test_a_list_of_trusted_users_that_is_none_is_refused(tmp_path: Path) -> None:
    (line,) = _lines(_write(tmp_path, SOURCE), {"HSM_AGENT_TRUSTED_UIDS": "1000 nobody"})

    assert line == "environment HSM_AGENT_TRUSTED_UIDS: 'nobody' is not a user ID (write numbers, as 1000,1001)"
