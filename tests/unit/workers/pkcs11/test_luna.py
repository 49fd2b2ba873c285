from __future__ import annotations

from typing import Any

import pytest

from hsm_agent.workers.pkcs11 import steps
from hsm_agent.workers.pkcs11.cryptoki import Failed, Module


def test_a_library_without_luna_s_functions_has_none() -> None:
    assert steps.bind_vendor_functions(Module("libc.so.6", lambda *_: None)) == []


class Library:
    """The border to a library: says how long its set is, and fills in what it is given room for."""

    def __init__(self, *lengths: int, first: int = 0, second: int = 0, short_of_values: int = 0) -> None:
        self.lengths = list(lengths)
        self.first = first
        self.second = second
        self.short = short_of_values
        self.room = 0

    def need(self, name: str, _slot: int, *arguments: Any) -> None:
        if self.first:
            raise Failed(name, self.first)
        _, ids, id_count, values, value_count = arguments
        assert ids is values is None
        id_count._obj.value = value_count._obj.value = self.lengths.pop(0)

    def call(self, _name: str, _slot: int, *arguments: Any) -> int:
        _, ids, id_count, values, value_count = arguments
        self.room = id_count._obj.value
        wanted = self.lengths.pop(0)
        if wanted > self.room:
            return 0x150
        for position in range(wanted):
            ids[position], values[position] = position, position * 10
        id_count._obj.value, value_count._obj.value = wanted, wanted - self.short
        return self.second


def pairs(library: Library) -> list[list[int]]:
    module: Any = library
    return steps.pairs(module, "CA_GetHSMPolicySet", 3)


@pytest.mark.parametrize(
    ("library", "found"),
    [
        (Library(3, 3), [[0, 0], [1, 10], [2, 20]]),
        pytest.param(Library(0, 0), [], id="an empty set"),
        pytest.param(Library(1, 2, 2, 2), [[0, 0], [1, 10]], id="a set that grows between the two calls"),
        pytest.param(Library(3, 2), [[0, 0], [1, 10]], id="a set that shrinks between them"),
        pytest.param(Library(3, 3, short_of_values=1), [[0, 0], [1, 10]], id="fewer values than ids"),
    ],
)
def test_sets_are_read_in_two_calls(library: Library, found: list[list[int]]) -> None:
    assert pairs(library) == found


@pytest.mark.parametrize(
    ("library", "value"),
    [
        pytest.param(Library(first=0x54), 0x54, id="the first call fails"),
        pytest.param(Library(3, 3, second=0x30), 0x30, id="the second call fails"),
        pytest.param(Library(1, 2, 2, 3, 3, 4), 0x150, id="it grows for ever"),
    ],
)
def test_a_set_that_cannot_be_read(library: Library, value: int) -> None:
    with pytest.raises(Failed) as failed:
        pairs(library)

    assert failed.value.value == value


def test_a_length_out_of_all_reason_costs_no_memory() -> None:
    library = Library(2**64 - 1, 2)

    assert pairs(library) == [[0, 0], [1, 10]]
    assert library.room == 4096
