"""`serve.hide` and what users, communities and HTTP say instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hsm_agent.cli.check_config import describe
from hsm_agent.config.tree import Config, Loaded

if TYPE_CHECKING:
    from pathlib import Path


def loaded(folder: Path, for_all: object, **own: Any) -> Config:
    """With two communities, the first of which says nothing of its own."""
    names = [folder / name for name in ("first", "second")]
    for name in names:
        name.write_text(f"community-{name.name}", encoding="ascii")
        name.chmod(0o600)
    communities = [{"name": {"file": str(names[0])}}, {"name": {"file": str(names[1])}, **own}]
    serve = {"hide": for_all, "snmp": {"communities": communities}, "http": own}
    return Config.model_validate({"agent": {"state_directory": str(folder)}, "serve": serve}, context={"base": folder})


def hidden(config: Config) -> list[object]:
    assert config.serve.snmp is not None
    assert config.serve.http is not None
    return [*(one.hide for one in config.serve.snmp.communities), config.serve.http.hide]


def test_it_is_for_every_view_that_says_nothing_else(tmp_path: Path) -> None:
    config = loaded(tmp_path, ["labels", "serials"], hide=[])

    assert hidden(config) == [("labels", "serials"), (), ()]
    assert config.serve.hides_anything()


def test_a_view_may_hide_what_others_show(tmp_path: Path) -> None:
    config = loaded(tmp_path, [], hide=["firmware"])

    assert hidden(config) == [None, ("firmware",), ("firmware",)]
    assert config.serve.hides_anything()


def test_null_is_as_if_nothing_was_said(tmp_path: Path) -> None:
    assert hidden(loaded(tmp_path, ["labels"], hide=None)) == [("labels",)] * 3
    assert not loaded(tmp_path, [], hide=None).serve.hides_anything()


def test_servers_that_are_off_hide_nothing(tmp_path: Path) -> None:
    config = Config.model_validate({"serve": {"hide": ["labels"], "snmp": None, "http": None}})

    assert not config.serve.hides_anything()


def test_what_is_no_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"serve\.hide\.0"):
        loaded(tmp_path, ["models"])


def test_check_config_says_who_is_shown_less(tmp_path: Path) -> None:
    config = loaded(tmp_path, ["labels"], hide=["labels", "firmware"])

    lines = list(describe(Loaded(config=config, path=tmp_path / "agent.yaml", digest="")))

    assert any(line.endswith("v2c communities 2 (hides labels) (hides labels, firmware)") for line in lines)
    assert any(line.endswith("/api/v1/status (hides labels, firmware)") for line in lines)
