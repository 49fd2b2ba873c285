from __future__ import annotations

from pydantic import TypeAdapter

from hsm_agent.settings.types import Environment


def test_only_what_begins_like_a_path_is_made_one() -> None:
    given = {"CONF": "./hsm.conf", "FLAGS": "a ./b", "HOME": "/x", "UP": "../y"}
    read = TypeAdapter[Environment](Environment).validate_python(given, context={"base": "/etc/hsm"})

    assert read == {"CONF": "/etc/hsm/hsm.conf", "FLAGS": "a ./b", "HOME": "/x", "UP": "../y"}
    assert TypeAdapter[Environment](Environment).validate_python({"CONF": "./c"}) == {"CONF": "./c"}
