"""Series that polls have read, and those that are missing now."""

from __future__ import annotations

from hsm_agent.collect.series import Fact, KnownSeries, unavailable


def test_labels_of_an_info_metric_are_its_content() -> None:
    first = Fact("token_info", 1, labels=(("model", "a"),), resource="pay")
    second = Fact("token_info", 1, labels=(("model", "b"),), resource="pay")

    assert first.key == second.key
    assert Fact("x", 1, labels=(("a", "b"),)).key != Fact("x", 1).key


def test_a_fact_becomes_a_reading_and_one_without_a_value_keeps_its_series() -> None:
    fact = Fact("token_memory_private_free_bytes", 5, limit=10.0, resource="pay")
    gone = unavailable(fact, "not listed").reading("luna", 7.0)

    assert fact.reading("luna", 7.0, "4711").hsm == "4711"
    assert (gone.source, gone.resource, gone.value, gone.reason, gone.limit) == (
        "luna",
        "pay",
        None,
        "not listed",
        None,
    )


def test_of_missing_series_the_latest_are_kept() -> None:
    known: KnownSeries[Fact] = KnownSeries()
    for poll in range(4):
        known = known.updated([Fact("m", poll, resource=f"{poll}")], most_missing=2)

    assert [fact.resource for fact in known.missing({("3", "m", ())})] == ["2", "1"]
    assert known.resources("m") == ["3", "2", "1"]
    assert known.without({"2"}).resources("m") == ["3", "1"]


def test_a_series_that_is_read_again_is_missed_no_more() -> None:
    known: KnownSeries[Fact] = KnownSeries()
    known = known.updated([Fact("m", 1, resource="a")], most_missing=5).updated([], most_missing=5)
    again = known.updated([Fact("m", 2, resource="a")], most_missing=5)

    assert list(again.missing({("a", "m", ())})) == []
    assert list(again.facts.values()) == [Fact("m", 2, resource="a")]
