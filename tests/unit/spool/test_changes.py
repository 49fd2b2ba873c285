"""Changes waiting for the disk: the last word on a row counts."""

from __future__ import annotations

from hsm_agent.spool.changes import Pending


def test_the_last_word_on_a_row_counts() -> None:
    pending = Pending()
    pending.put("state", ("a",), ("1",))
    pending.put("state", ("a",), ("2",))
    pending.put("state", ("b",), ("1",))
    pending.erase("state", ("b",))

    assert pending.take() == {("state", ("a",)): ("2",), ("state", ("b",)): None}
    assert pending.take() == {}
