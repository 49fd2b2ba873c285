"""collect.snmp.profile: the form of profiles, and the ones that come with the agent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.snmp.profile import Profile, ProfileValue, names, profile
from hsm_agent.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[4] / "docs" / "sources" / "snmp.md"
VALUE = {"oid": "1.3.6.1.4.1.1.0", "metric": "sensor_celsius"}
TABLE = {"oid": "1.3.6.1.4.1.2.1", "values": [{"oid": 2, "metric": "sensor_celsius"}]}


def refused(fields: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Profile.model_validate(fields)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in caught.value.errors())


@pytest.mark.parametrize("name", names())
def test_a_profile_loads_and_names_metrics_of_the_table(name: str) -> None:
    assert profile(name).metrics() <= set(METRICS)


def test_there_are_those_that_were_promised() -> None:
    assert names() == ("luna", "luna-legacy", "net-snmp-host", "nshield", "primekey", "utimaco")


def test_one_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no profile 'lunna', did you mean 'luna'"):
        profile("lunna")
    with pytest.raises(ValueError, match="no profile 'zzz', there are luna, luna-legacy"):
        profile("zzz")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "nothing to read"),
        ({"values": [{**VALUE, "oid": "1.3.x"}]}, "values.0.oid: Value error, not an object identifier: '1.3.x'"),
        ({"values": [{**VALUE, "oid": "1.3.4294967296"}]}, "not an object identifier"),
        ({"values": [{**VALUE, "oid": "1" + ".1" * 128}]}, "at most 128 numbers"),
        ({"values": [{**VALUE, "oid": 1.3}]}, "values.0.oid: "),
        ({"values": [{**VALUE, "oid": 5}]}, "values.0.oid: not a whole OID"),
        ({"values": [{**VALUE, "oid": "2.5"}]}, "values.0.oid: not a whole OID"),
        ({"tables": [{**TABLE, "oid": "5"}]}, "tables.0.oid: Value error, not a whole OID"),
        ({"tables": [{**TABLE, "values": []}]}, "a table without columns"),
        ({"tables": [{**TABLE, "resource": ["label"]}]}, "no value of this table is called 'label'"),
        ({"tables": [{**TABLE, "where": {"kind": 1}}]}, "no value of this table is called 'kind'"),
        ({"values": [{**VALUE, "metric": "sensor_celcius"}]}, "no metric 'sensor_celcius', did you mean 'sensor_celsius'?"),
        ({"values": [{**VALUE, "metric": "qqqq"}]}, "no metric 'qqqq', one of your own begins with 'custom_'"),
        ({"values": [{**VALUE, "metric": "hsm_info"}]}, "it belongs under `infos`"),
        ({"values": [{**VALUE, "scale": float("inf")}]}, "values.0.scale: Input should be a finite number"),
        ({"values": [{"oid": "1.3"}]}, "give it a metric, or a name"),
        ({"values": [{**VALUE, "unit": "kelvin"}]}, "unit: the name of 'sensor_celsius' says celsius"),
        ({"values": [{**VALUE, "metric": "custom_x", "unit": "volts"}]}, "unit: the name of 'custom_x' says no unit"),
        ({"values": [{**VALUE, "read": "text"}]}, "read: a text is no value of a metric"),
        ({"values": [{**VALUE, "limit": "most"}]}, "no value is called 'most'"),
        ({"values": [VALUE, {**VALUE, "oid": "1.3.9"}]}, "two values are 'sensor_celsius' of one resource"),
        ({"values": [VALUE], "shares": [{"metric": "sensor_celsius", "part": "a", "whole": "b"}]}, "a share is a percentage"),
        ({"values": [VALUE], "shares": [{"metric": "hsm_load_percent", "part": "a", "whole": "b"}]}, "no value is called 'a'"),
        ({"values": [VALUE], "infos": [{"metric": "hsm_info", "labels": {"a": "b"}}]}, "no value is called 'b'"),
        ({"values": [VALUE], "infos": [{"metric": "sensor_celsius", "labels": {"a": "b"}}]}, "its name would end in _info"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_place(fields: dict[str, Any], said: str) -> None:
    assert said in refused(fields)


def test_an_oid_may_begin_with_a_dot_and_a_column_may_be_a_number() -> None:
    assert ProfileValue.model_validate({**VALUE, "oid": ".1.3.6"}).oid == (1, 3, 6)
    assert ProfileValue.model_validate({**VALUE, "oid": 7}).oid == (7,)


def shown(name: str) -> Iterator[tuple[str, str, str]]:
    """OID, what it becomes, and how sure it is, of each value of a profile, as the page has them."""
    one = profile(name)
    for value in one.values:
        yield _row("", value)
    for table in one.tables:
        for value in table.values:
            yield _row(".".join(map(str, table.oid)) + ".", value)


def _row(before: str, value: ProfileValue) -> tuple[str, str, str]:
    oid = before + ".".join(map(str, value.oid))
    return oid, f"`{value.metric}`" if value.metric else value.name, "inferred" if value.inferred else "seen"


@pytest.mark.parametrize("name", names())
def test_the_page_shows_every_oid_of_a_profile_and_no_other(name: str) -> None:
    part = re.search(rf"^### {name}\n(.*?)(?=^##)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert part is not None

    rows = re.findall(r"^\| `([\d.]+)` \| (.*?) \| .*? \| (seen|inferred) \|$", part[1], re.MULTILINE)

    assert rows == [*shown(name)]
