"""The settings. What it does: tests/integration/test_canary_softhsm.py and test_canary_opencryptoki.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from hsm_agent.collect.base import AnySource, CollectorContext
from hsm_agent.collect.canary.source import CanarySettings
from hsm_agent.config.tree import load
from hsm_agent.settings.errors import ConfigError
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from pathlib import Path


def settings(folder: Path, **keys: Any) -> CanarySettings:
    secret = folder / "pin"
    secret.touch(mode=0o600)
    secret.write_text("12345678\n")
    tree = {
        "name": "c", "kind": "canary", "module": "/lib/m.so", "token": "t", "key": {"label": "k"}, "mechanism": "ECDSA",
        "pin": {"file": str(secret)},
    }  # fmt: skip
    found = TypeAdapter[AnySource](AnySource).validate_python({**tree, **keys}, context={"base": "/etc/hsm"})
    assert isinstance(found, CanarySettings)
    return found


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"key": {}}, "name at least one of label, id"),
        ({"key": {"id": "xyz"}}, "not hexadecimal: 'xyz'"),
        ({"mechanism": "MD5-RSA-PKCS"}, "Input should be 'ECDSA'"),
        ({"pin": "12345678"}, "Input should be a valid dictionary or instance of Secret"),
        ({"token": ""}, "at least 1 character"),
    ],
)
def test_what_is_missing_or_wrong_is_refused(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        settings(tmp_path, **keys)
    assert "12345678" not in str(caught.value) or keys.get("pin")


def test_what_is_watched_is_said_aloud_but_for_the_pin(tmp_path: Path) -> None:
    found = settings(tmp_path, key={"label": "k", "id": "0A:1b"}, environment={"CONF": "./hsm.conf", "X": "y"})

    assert [*found.about()] == [
        "/lib/m.so (the file does not exist)",
        "LOGS IN to token t and signs with key label k id 0a1b by ECDSA",
    ]
    assert found.environment == {"CONF": "/etc/hsm/hsm.conf", "X": "y"}
    assert [*found.trusted_files()] == ["module"]
    assert "12345678" not in repr(found)


async def test_a_day_has_a_known_number_of_calls(tmp_path: Path) -> None:
    import asyncio

    found = await asyncio.to_thread(settings, tmp_path, every="5m")
    collector = found.build(CollectorContext(state_directory=tmp_path))

    assert collector.calls_a_day()["C_Sign"] == 288
    assert collector.calls_a_day()["C_OpenSession"] == 576
    assert collector.pids() == ()
    await collector.close()


def test_another_pin_is_another_source_to_a_reload(tmp_path: Path) -> None:
    before = settings(tmp_path)
    same = settings(tmp_path)
    (tmp_path / "pin").write_text("87654321\n")
    after = TypeAdapter[AnySource](AnySource).validate_python(
        {**before.model_dump(exclude={"pin", "every", "timeout"}), "pin": {"file": str(tmp_path / "pin")}}
    )

    assert before == same
    assert before != after


def test_a_canary_is_refused_at_its_place_where_its_package_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    secret = tmp_path / "pin"
    secret.touch(mode=0o600)
    secret.write_text("12345678\n")
    source = {
        "name": "c", "kind": "canary", "module": "/lib/m.so", "token": "t", "key": {"label": "k"}, "mechanism": "ECDSA",
        "pin": {"file": str(secret)},
    }  # fmt: skip
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump({"sources": [source]}), encoding="utf-8")

    with pytest.raises(ConfigError) as refused:
        load(file, trusting())

    (line,) = refused.value.lines
    assert ": sources.0.kind: " in line
    assert "pip install hsm-agent[canary]" in line
