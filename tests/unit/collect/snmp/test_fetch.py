"""Which questions are asked, and what is made of odd answers. An agent without a socket answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.collect.snmp.fetch import FetchResult, Plan, TablePlan, fetch, plan_of
from hsm_agent.collect.snmp.profile import Profile
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.ber import Oid, VarBind
from hsm_agent.wire.snmp.client_engine import SnmpResponse
from tests.fakes.tree_client import TreeClient

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRY = (1, 3, 9, 1)


def numbers(count: int) -> dict[Oid, int]:
    return {(1, 3, number): number for number in range(1, count + 1)}


def table(rows: int, columns: int = 2) -> dict[Oid, int]:
    return {(*ENTRY, column, row): 100 * column + row for column in range(1, columns + 1) for row in range(1, rows + 1)}


def plan(columns: int = 2, rows: int = 256) -> Plan:
    return Plan((), (TablePlan(ENTRY, tuple((column,) for column in range(1, columns + 1)), rows),))


async def test_values_are_asked_for_in_requests_of_25() -> None:
    agent = TreeClient(numbers(60))

    result = await fetch(agent, Plan(tuple(numbers(60)), ()))

    assert agent.asked == [25, 25, 10]
    assert result.values == numbers(60)
    assert result.errors == []


async def test_an_appliance_of_small_answers_is_asked_for_less() -> None:
    agent = TreeClient(numbers(20), most=6)

    result = await fetch(agent, Plan(tuple(numbers(20)), ()))

    assert result.values == numbers(20)
    assert [asked for asked in agent.asked if asked <= 6] == [5, 5, 5, 5]


async def test_an_object_that_is_refused_costs_no_other() -> None:
    agent = TreeClient(numbers(5), refuses={(1, 3, 2): 1})

    result = await fetch(agent, Plan(tuple(numbers(5)), ()))

    assert result.values == {(1, 3, number): number for number in (1, 3, 4, 5)}
    assert result.failed == {(1, 3, 2): "the appliance refuses 1.3.2: gen err"}


async def test_a_refusal_that_names_no_object_fails_the_request() -> None:
    agent = TreeClient(numbers(2), refuses={(1, 3, 2): 9})

    result = await fetch(agent, Plan(tuple(numbers(2)), ()))

    assert result.errors == ["the appliance refuses a request: gen err"]
    assert set(result.failed) == set(numbers(2))


async def test_objects_that_are_not_there_are_no_values() -> None:
    result = await fetch(TreeClient({(1, 3, 1): 1}), Plan(((1, 3, 1), (1, 3, 2)), ()))

    assert result.values == {(1, 3, 1): 1}
    assert result.errors == []


async def test_a_table_is_walked_to_its_end() -> None:
    result = await fetch(TreeClient(table(60) | {(1, 3, 9, 2, 1): 7}), plan())

    assert len(result.rows[ENTRY]) == 60
    assert result.rows[ENTRY][(60,)] == {(1,): 160, (2,): 260}


async def test_columns_with_holes_are_walked_each_at_its_own_pace() -> None:
    tree = table(5)
    del tree[*ENTRY, 2, 1], tree[*ENTRY, 1, 4]

    result = await fetch(TreeClient(tree), plan())

    assert result.rows[ENTRY][(1,)] == {(1,): 101}
    assert result.rows[ENTRY][(4,)] == {(2,): 204}


async def test_many_columns_are_walked_in_parts() -> None:
    result = await fetch(TreeClient(table(3, columns=30)), plan(columns=30))

    assert len(result.rows[ENTRY][(2,)]) == 30


async def test_a_long_table_is_cut_and_says_so() -> None:
    result = await fetch(TreeClient(table(100)), plan(rows=10))

    assert sorted(result.rows[ENTRY]) == [(row,) for row in range(1, 11)]
    assert result.errors == ["table 1.3.9.1 has more than 10 rows: the rest is not read"]


async def test_a_table_in_small_answers_is_asked_for_less() -> None:
    result = await fetch(TreeClient(table(30), most=8), plan())

    assert len(result.rows[ENTRY]) == 30


async def test_a_table_that_is_refused_is_told() -> None:
    result = await fetch(TreeClient(table(3), refuses={(*ENTRY, 1): 1}), plan())

    assert [*result.failed] == [ENTRY]
    assert result.errors[0].startswith("the appliance refuses table 1.3.9.1: no access; check what its agent lets this")


async def test_an_agent_that_goes_in_circles_is_left() -> None:
    agent = TreeClient(table(3), circles=True)

    result = await fetch(agent, plan())

    assert len(result.rows[ENTRY]) == 3
    assert len(agent.asked) < 4


async def test_an_agent_that_says_a_name_again_is_left_and_told_of() -> None:
    class Stuck(TreeClient):
        async def bulk(self, names: Sequence[Oid], repetitions: int) -> SnmpResponse:
            del repetitions
            self.count(1)
            return SnmpResponse(1, 0, 0, tuple(VarBind((*name[:5], 1), ber.INTEGER, 1) for name in names))

    result = await fetch(Stuck({}), plan())

    assert result.rows[ENTRY] == {(1,): {(1,): 1, (2,): 1}}
    assert result.errors == [
        f"1.3.9.1.{column}.1 comes again in a walk: the rest of 1.3.9.1.{column} is not read" for column in (1, 2)
    ]


async def test_an_agent_that_answers_nothing_at_all_is_left() -> None:
    class Mute(TreeClient):
        async def bulk(self, names: Sequence[Oid], repetitions: int) -> SnmpResponse:
            self.count(1)
            return SnmpResponse(1, 0, 0, ())

    agent = Mute({})
    result = await fetch(agent, plan())

    assert agent.asked == [1]
    assert result.errors == ["the appliance answers a walk with nothing: the rest of 1.3.9.1.1 is not read"]


class Damaging(TreeClient):
    """Some of its values, and the names of some, can't be decoded."""

    def _damaged(self, answer: SnmpResponse) -> SnmpResponse:
        odd = ber.Undecodable("IpAddress of 0 octets")
        return answer._replace(
            varbinds=tuple(
                VarBind(() if one.value == 201 else one.name, one.tag, odd if one.value in {2, 102, 201} else one.value)
                for one in answer.varbinds
            )
        )

    async def get(self, names: Sequence[Oid]) -> SnmpResponse:
        return self._damaged(await super().get(names))

    async def bulk(self, names: Sequence[Oid], repetitions: int) -> SnmpResponse:
        return self._damaged(await super().bulk(names, repetitions))


async def test_what_cannot_be_decoded_costs_nothing_else_and_is_told() -> None:
    result = await fetch(Damaging(numbers(3) | table(3)), Plan(tuple(numbers(3)), plan().tables))

    odd = ber.Undecodable("IpAddress of 0 octets")
    assert result.values == {(1, 3, 1): 1, (1, 3, 2): odd, (1, 3, 3): 3}
    assert result.rows[ENTRY] == {(1,): {(1,): 101}, (2,): {(1,): odd}, (3,): {(1,): 103}}
    assert result.errors == [
        f"{what} cannot be decoded: the appliance sent IpAddress of 0 octets"
        for what in ("1.3.2", "a name", "1.3.9.1.1.2", "a name")
    ]


async def test_not_every_value_that_cannot_be_decoded_is_told() -> None:
    result = FetchResult()
    for number in range(100):
        result.note_undecodable(VarBind((1, 3, number), ber.IP_ADDRESS, ber.Undecodable("IpAddress of 0 octets")))

    assert result.oddities == 100
    assert len(result.errors) == 10


async def test_silence_is_told_once_and_what_was_answered_is_kept() -> None:
    wanted = Plan(tuple(numbers(30)), plan().tables)

    result = await fetch(TreeClient(numbers(30) | table(3), silent_after=1), wanted)

    assert len(result.values) == 25
    assert result.answer_count == 1
    assert result.errors == ["no answer"]
    assert set(result.failed) == {(1, 3, number) for number in range(26, 31)} | {ENTRY}


def test_what_several_profiles_want_is_asked_once() -> None:
    value = {"oid": "1.3.1", "metric": "hsm_clients"}
    first = {"oid": "1.3.9.1", "rows": 8, "values": [{"oid": 1, "name": "a"}, {"oid": 2, "name": "b"}]}
    second = {**first, "rows": 5, "values": [{"oid": 2, "name": "b"}, {"oid": 3, "name": "c"}]}
    profiles = [Profile.model_validate({"values": [value], "tables": [each]}) for each in (first, second)]

    assert plan_of(profiles) == Plan(((1, 3, 1),), (TablePlan(ENTRY, ((1,), (2,), (3,)), 8),))
