"""What a scope of tokens sees of the tables, and that it sees nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.wire.snmp.mib import BASE
from tests.fakes.snmp_listing import (
    EVERYTHING,
    TOKEN_SESSIONS,
    column,
    listed,
    tables,
)
from tests.fakes.snmp_present import alarm, raise_alarms, reading, store

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.serve.snmp.tables import Scope


PAYMENTS: Scope = frozenset({"pay*"})


async def test_a_narrow_scope_sees_the_system_group_and_its_tokens_alone(tmp_path: Path) -> None:
    present = store()
    raise_alarms(present, [alarm(), alarm(resource="backup", number=2)])
    made = await tables(tmp_path, present, EVERYTHING, frozenset({"1234567890"}))

    found = listed(made, frozenset({"1234567890"}))

    system = [name for name in found if name[:7] == (1, 3, 6, 1, 2, 1, 1)]
    tables_seen = {name[len(BASE) + 1] for name in found if name not in system}
    assert len(system) == 7
    assert tables_seen == {3, 4, 5, 6}
    assert {name[-1] for name in found if name[len(BASE) :][:2] == (1, 3)} == {1}
    assert {found[*BASE, 1, 5, 1, 3, row] for row in range(1, 20)} == {b"payments"}
    assert column(made, (1, 6, 1, 5), frozenset({"1234567890"})) == {1: b"payments"}


async def test_a_token_of_the_same_name_in_another_source_is_seen_by_name(tmp_path: Path) -> None:
    made = await tables(tmp_path, store(), PAYMENTS)

    assert column(made, (1, 3, 1, 2), PAYMENTS) == {1: b"luna-a", 3: b"soft"}


async def test_something_that_is_no_token_is_not_seen_for_its_name(tmp_path: Path) -> None:
    present = store()
    present.update([reading("sensor_celsius", 40, resource="pay-rack")])

    made = await tables(tmp_path, present, PAYMENTS)

    assert b"pay-rack" not in listed(made, PAYMENTS).values()


@pytest.mark.parametrize(("glob", "is_seen"), [("154438", True), ("1544*", False)])
async def test_what_is_true_of_a_whole_hsm_is_seen_by_who_names_it_in_full(
    tmp_path: Path, glob: str, *, is_seen: bool
) -> None:
    present = store()
    scope: Scope = frozenset({"pay*", glob})
    hsm = ("audit_used_percent", "audit_records", "hsm_tampered")
    present.update([reading(metric, 1, resource="154438") for metric in (*hsm, "sensor_celsius")])
    tampered = alarm(resource="154438")
    raise_alarms(present, [replace(tampered, series=("luna-a", "154438", "hsm_tampered", ()))])

    made = await tables(tmp_path, present, scope)

    names, metrics = (column(made, (1, 5, 1, number), scope) for number in (3, 4))
    found = {metrics[row] for row, name in names.items() if name == b"154438"}
    assert found == ({metric.encode() for metric in hsm} if is_seen else set())
    assert (b"154438" in column(made, (1, 4, 1, 3), scope).values()) is is_seen
    assert (b"154438" in column(made, (1, 6, 1, 5), scope).values()) is is_seen


async def test_a_token_that_appears_is_seen_by_its_scope(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present, EVERYTHING, PAYMENTS)
    present.update([reading("token_present", 1, resource="payroll"), reading("token_sessions", 4, resource="payroll")])

    await made.refresh(["luna-a"], alarms=False)

    assert column(made, TOKEN_SESSIONS, PAYMENTS) == {1: 12, 5: 4}


async def test_a_label_that_holds_a_wildcard_can_be_named(tmp_path: Path) -> None:
    scope: Scope = frozenset({"prod[1]"})
    present = store()
    made = await tables(tmp_path, present, EVERYTHING, scope)
    present.update([reading("token_present", 1, resource="prod[1]"), reading("token_sessions", 4, resource="prod[1]")])

    await made.refresh(["luna-a"], alarms=False)

    assert column(made, TOKEN_SESSIONS, scope) == {5: 4}


async def test_a_token_that_loses_its_serial_is_lost_to_the_scope_of_that_serial(tmp_path: Path) -> None:
    scope: Scope = frozenset({"1234567890"})
    present = store()
    made = await tables(tmp_path, present, scope)
    present.update([reading("token_info", None)])

    await made.refresh(["luna-a"], alarms=False)

    assert [name for name in listed(made, scope) if name[: len(BASE)] == BASE] == []


async def test_narrow_views_follow_changes(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present, PAYMENTS)
    present.update([reading("token_sessions", 99), reading("token_sessions", 7, resource="backup")])

    await made.refresh(["luna-a"], alarms=False)

    assert column(made, TOKEN_SESSIONS, PAYMENTS) == {1: 99}


async def test_scopes_can_be_rearranged(tmp_path: Path) -> None:
    made = await tables(tmp_path, store(), EVERYTHING)

    await made.arrange((PAYMENTS,), {})

    assert column(made, TOKEN_SESSIONS, PAYMENTS) == {1: 12}
    with pytest.raises(KeyError):
        made.view(EVERYTHING)
