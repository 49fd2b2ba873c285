"""Trap maps of the operator's own."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.traps.trap_maps import AlarmChange, AlarmLevel, TrapMapSettings, combined
from tests.fakes.traps import FAN, LUNA, trap

OWN = "1.3.6.1.4.1.32473.7"
TRAP = (1, 3, 6, 1, 4, 1, 32473, 7, 0, 1)


def mapped(**keys: Any) -> TrapMapSettings:
    return TrapMapSettings.model_validate({"trap": f"{OWN}.0.1", "alarm": "memory", **keys})


def test_a_map_raises_with_resource_and_text_of_varbinds() -> None:
    maps = combined((mapped(severity="critical", resource=f".{OWN}.1", text=f"{OWN}.2", pattern="high"),), ())

    found = maps.read(trap(TRAP, o1_3_6_1_4_1_32473_7_1_0="module 1", o1_3_6_1_4_1_32473_7_2_0="memory is high"))

    assert found == (
        AlarmChange(alarm="memory", component="module 1", level=AlarmLevel.CRITICAL, note="memory is high", ends=True),
    )
    assert maps.read(trap(TRAP, o1_3_6_1_4_1_32473_7_2_0="memory is low")) == ()


def test_an_alarm_that_another_map_clears_has_an_end_unless_a_time_is_given() -> None:
    clear = mapped(trap=f"{OWN}.0.2", does="clear")

    def ends(one: TrapMapSettings) -> tuple[bool, float | None]:
        (change,) = combined((one, clear), ()).read(trap(TRAP))
        return change.ends, change.clear_after_seconds

    assert ends(mapped()) == (False, None)
    assert ends(mapped(clear_after="1h")) == (True, 3600.0)
    (over,) = combined((mapped(), clear), ()).read(trap((*TRAP[:-1], 2)))
    assert (over.alarm, over.level, over.ends) == ("memory", AlarmLevel.CLEARED, False)


def test_a_map_of_a_built_in_trap_stands_instead_of_it() -> None:
    own = mapped(trap=".".join(map(str, FAN)), alarm="fan", severity="critical")
    reference = {"o1_3_6_1_4_1_23629_1_5_2_2_1": "[h / messages / 2014 Apr 3 15:47:30 / ipmievd / 0]"}

    assert [one.level for one in combined((own,), ("luna",)).read(trap(FAN, **reference))] == [AlarmLevel.CRITICAL]
    assert [one.level for one in combined((own,), ("luna",)).read(trap((*LUNA, 3), **reference))] == [
        AlarmLevel.CLEARED
    ]
    assert combined((), ()).read(trap(FAN, **reference)) == ()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"trap": "fan"}, "not an object identifier: 'fan'"),
        ({"trap": "1"}, "not an object identifier: '1'"),
        ({"trap": "3.6.1"}, "not an object identifier: '3.6.1'"),
        ({"trap": 1.3}, "tuple"),
        ({"trap": "1.3.6.4294967296"}, "at most 128 numbers up to 4294967295"),
        ({"trap": "1" + ".3" * 128}, "at most 128 numbers"),
        ({"alarm": "Fan 1"}, "pattern"),
        ({"text": OWN, "pattern": "("}, "not a pattern"),
        ({"text": OWN, "pattern": "(?<!not )high"}, "there is no looking behind"),
        ({"pattern": "x"}, "pattern: looks at `text`"),
        ({"does": "clear", "clear_after": "1h"}, "clear_after: is for what raises"),
        ({"severity": "major"}, "'warning' or 'critical'"),
    ],
)
def test_a_wrong_map_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        mapped(**keys)

    assert said in str(caught.value)


def test_a_text_that_a_pattern_almost_fits_holds_nothing_up() -> None:
    maps = combined((mapped(text=f"{OWN}.2", pattern=r"^(?:\w|\d\d)+: high$"),), ())

    assert maps.read(trap(TRAP, o1_3_6_1_4_1_32473_7_2_0="1" * 148)) == ()
    assert [one.alarm for one in maps.read(trap(TRAP, o1_3_6_1_4_1_32473_7_2_0="1" * 148 + ": high"))] == ["memory"]
