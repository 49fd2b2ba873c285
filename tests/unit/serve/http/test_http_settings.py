from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from hsm_agent.serve.http.connection import HttpRequest
from hsm_agent.serve.http.server import HttpServer, render
from hsm_agent.serve.settings import HttpSettings, http_address
from tests.fakes.present import known_snapshot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9717", ("127.0.0.1", 9717)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:9717", ("::1", 9717)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
    ],
)
def test_an_address_and_port_are_read(text: str, expected: tuple[str, int]) -> None:
    assert http_address(text) == expected
    assert HttpSettings(listen=text).listen == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9717",
        ":9717",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:٣",
        "::1:9717",
        "[127.0.0.1]:9717",
        "[::1]",
        "localhost:9717",
        "256.0.0.1:1",
        "127.0.0.1:9717 ",
        "http://127.0.0.1:9717",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpSettings(listen=text)

    (error,) = caught.value.errors()
    assert error["loc"] == ("listen",)
    assert "not an" in error["msg"]


def test_the_defaults_are_loopback_without_guards() -> None:
    assert HttpSettings().model_dump() == {"listen": "127.0.0.1:9717", "web_config": None, "hide": None}


def test_a_bad_web_config_makes_the_configuration_bad(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("basic_auth_users: {bob: secret}")

    with pytest.raises(ValidationError) as caught:
        HttpSettings.model_validate({"web_config": "web.yml"}, context={"base": tmp_path})

    (error,) = caught.value.errors()
    assert error["loc"] == ("web_config",)
    assert "web.yml: basic_auth_users: 'bob': not a bcrypt hash" in error["msg"]


def test_a_sound_web_config_is_taken(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("")

    settings = HttpSettings.model_validate({"web_config": "web.yml"}, context={"base": tmp_path})

    assert settings.web_config == tmp_path / "web.yml"


def test_the_document_is_strict_json() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    body = render(HttpRequest(method="GET", path="/api/v1/status"), known_snapshot()).body

    assert json.loads(body, parse_constant=refuse)["agent"]["name"] == "hsm-monitor-1"


async def test_a_server_that_was_not_started_has_no_address_and_closes_well() -> None:
    server = HttpServer(HttpSettings(), snapshot=known_snapshot, missing=list)

    with pytest.raises(RuntimeError):
        _ = server.address
    await server.close()
