"""The worker names nothing that a monitor must never call: neither in its text nor in what it binds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hsm_agent.workers.pkcs11
from hsm_agent.workers.pkcs11 import cryptoki, steps
from hsm_agent.workers.pkcs11.cryptoki import Module
from tests.unit.workers.pkcs11.never_called import FUNCTION_LIST, NEVER, NEVER_BEGIN, READ_WITH

WORKER = sorted(Path(hsm_agent.workers.pkcs11.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", WORKER, ids=lambda path: path.name)
def test_nothing_of_the_list_is_named_in_the_worker(path: Path) -> None:
    named = set(re.findall(r"\bCA?_[A-Z]\w+", path.read_text(encoding="utf-8")))

    assert not named & NEVER
    assert not [name for name in named if name.startswith(NEVER_BEGIN)]
    assert named <= READ_WITH


def test_what_is_bound_by_position_is_what_it_is_called() -> None:
    assert {name: FUNCTION_LIST[position] for name, position in cryptoki._FUNCTIONS.items()} == {
        name: name for name in cryptoki._FUNCTIONS
    }
    assert set(cryptoki._FUNCTIONS) <= READ_WITH
    assert len(FUNCTION_LIST) == 68


class Everything(Module):
    """A library that has every function one could ask for."""

    def __init__(self) -> None:
        super().__init__("libc.so.6", lambda *_: None)
        self.asked: list[str] = []

    def vendor_function(self, name: str, arguments: object) -> None:
        del arguments
        self.asked.append(name)

    def has(self, name: str) -> bool:
        return name in self.asked


def test_what_is_bound_by_name_is_what_a_monitor_reads_with() -> None:
    bound = set(steps.bind_vendor_functions(Everything()))

    assert bound == {name for name in READ_WITH if name.startswith("CA_")}
    assert not bound & NEVER


def test_the_list_is_no_list_of_what_is_read_with() -> None:
    assert not NEVER & READ_WITH
    assert not [name for name in READ_WITH if name.startswith(NEVER_BEGIN)]
