from __future__ import annotations

from hsm_agent.workers import (
    CHILD,
    CHILD_AT,
    CURRENT_CALL,
    CURRENT_CALL_AT,
    NO_SLOT,
    SIZE,
    STEP,
    USAGE,
    USAGE_AT,
    EndCause,
)


def test_what_child_and_supervisor_write_lies_side_by_side() -> None:
    page = bytearray(SIZE)
    STEP.pack_into(page, 0, 3)
    CURRENT_CALL.pack_into(page, CURRENT_CALL_AT, NO_SLOT, b"x" * 56)
    CHILD.pack_into(page, CHILD_AT, 4711, EndCause.MEMORY, 2**40)
    USAGE.pack_into(page, USAGE_AT, 12, 2**41)

    assert STEP.unpack_from(page) == (3,)
    assert CURRENT_CALL.unpack_from(page, CURRENT_CALL_AT) == (NO_SLOT, b"x" * 56)
    assert CHILD.unpack_from(page, CHILD_AT) == (4711, EndCause.MEMORY, 2**40)
    assert USAGE.unpack_from(page, USAGE_AT) == (12, 2**41)
