"""Reading what is written: YAML without surprises, and the environment's overrides."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from hsm_agent.config.document import read
from hsm_agent.settings.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "sources: [{name: a, kind: pkcs11, module: lib/module.so}]\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _lines(path: Path, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(path, environment or {})
    return caught.value.lines


def test_the_digest_covers_the_file_and_the_overrides(tmp_path: Path) -> None:
    path = _write(tmp_path, SOURCE)
    plain = read(path, {}).digest

    assert plain == hashlib.sha256(SOURCE.encode() + b"{}").hexdigest()
    assert read(path, {"HSM_AGENT__AGENT__NAME": "x"}).digest != plain
    assert read(path, {"UNRELATED": "x"}).digest == plain


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        pytest.param("HSM_AGENT__SOURCES__7__NAME", "x", "7 is not an entry of this list (1 entry)", id="far index"),
        pytest.param("HSM_AGENT__SOURCES__X__NAME", "x", "x is not an entry of this list", id="no index"),
        pytest.param("HSM_AGENT__SOURCES__0__NAME__X", "x", "x stands under a value that has no keys", id="too deep"),
        pytest.param("HSM_AGENT__AGENT__NAME", "[", "not a YAML value", id="no yaml"),
    ],
)
def test_an_override_that_fits_nowhere_is_an_error(tmp_path: Path, variable: str, value: str, said: str) -> None:
    (line,) = _lines(_write(tmp_path, SOURCE), {variable: value})

    assert said in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("agent: {name: a}\nagent: {name: b}\n", "line 2: agent: the key is given twice", id="twice"),
        pytest.param("- a\n", "not a mapping", id="a list"),
        pytest.param("agent: [\n", "line 2: ", id="broken yaml"),
        pytest.param("agent: !!python/object/apply:os.getpid []\n", "could not determine a constructor", id="a tag"),
        pytest.param("agent: {name: \x00}\n", "unacceptable character", id="control character"),
    ],
)
def test_a_file_that_is_no_configuration_says_where(tmp_path: Path, text: str, said: str) -> None:
    path = _write(tmp_path, text)
    (line,) = _lines(path)

    assert line.startswith(str(path))
    assert said in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert _lines(tmp_path / "none.yaml") == (f"{tmp_path / 'none.yaml'}: No such file or directory",)


@pytest.mark.parametrize("value", ["!!int x", "!!bool x", "!!timestamp x", "!!float x", "[" * 500 + "]" * 500])
def test_what_the_parser_chokes_on_is_a_bad_configuration(tmp_path: Path, value: str) -> None:
    (line,) = _lines(_write(tmp_path, f"agent: {value}\n"))
    (override,) = _lines(_write(tmp_path, ""), {"HSM_AGENT__AGENT": value})

    assert line.startswith(f"{tmp_path}/agent.yaml: not a YAML document: ")
    assert override == "environment HSM_AGENT__AGENT: not a YAML value"
