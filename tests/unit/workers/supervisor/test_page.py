from __future__ import annotations

from hsm_agent.workers.pkcs11.shared_page import PLACE, STEP
from hsm_agent.workers.supervisor.page import NOTE, OWN_BYTES, SIZE, USAGE, USAGE_AT, Cause


def test_the_keepers_note_lies_behind_what_a_child_notes_itself() -> None:
    page = bytearray(SIZE)
    PLACE.pack_into(page, STEP.size, 2**64 - 1, b"x" * 56)
    NOTE.pack_into(page, OWN_BYTES, 4711, Cause.MEMORY, 2**40)

    USAGE.pack_into(page, USAGE_AT, 12, 2**41)

    assert STEP.size + PLACE.size <= OWN_BYTES
    assert PLACE.unpack_from(page, STEP.size) == (2**64 - 1, b"x" * 56)
    assert USAGE.unpack_from(page, USAGE_AT) == (12, 2**41)
    assert NOTE.unpack_from(page, OWN_BYTES) == (4711, Cause.MEMORY, 2**40)
