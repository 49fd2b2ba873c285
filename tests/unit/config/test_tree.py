"""The tree of settings as a whole."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hsm_agent.config.tree import Config


def test_empty_lists_may_be_left_blank() -> None:
    config = Config.model_validate({"sources": None, "rules": None, "deliver": None})

    assert (config.sources, config.rules, config.deliver) == ((), (), ())


def test_settings_are_equal_when_they_say_the_same() -> None:
    tree = {"sources": [{"name": "a", "kind": "pkcs11", "module": "/m"}]}

    assert Config.model_validate(tree).sources == Config.model_validate(tree).sources


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        Config().agent.name = "another"  # type: ignore[misc]  # what the test is about


def test_two_rules_or_two_sinks_of_one_name_are_refused() -> None:
    rule = {"name": "pin"}
    sink = {"name": "x", "kind": "syslog", "to": "udp:h:514"}

    with pytest.raises(ValidationError, match=r"rules\.1\.name: two things are called 'pin'"):
        Config.model_validate({"rules": [rule, rule]})
    with pytest.raises(ValidationError, match=r"deliver\.1\.name: two things are called 'x'"):
        Config.model_validate({"deliver": [sink, sink]})
