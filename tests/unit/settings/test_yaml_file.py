"""YAML of settings: texts as they are meant."""

from __future__ import annotations

import pytest

from hsm_agent.settings.errors import ConfigError
from hsm_agent.settings.yaml_file import mapping_of


def test_a_character_in_two_escapes_is_one_character() -> None:
    assert mapping_of(rb'name: "\ud83d\udd12 vault"') == {"name": "🔒 vault"}
    assert mapping_of("name: Zürich 🔒".encode()) == {"name": "Zürich 🔒"}


def test_half_a_character_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError) as refused:
        mapping_of(b'a: 1\nname: "\\ud83d vault"')

    assert refused.value.lines == ("line 2: a text holds half a character",)
