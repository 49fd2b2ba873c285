from __future__ import annotations

from hsm_agent.workers.pkcs11.shared_page import NO_SLOT, PLACE, SIZE, STEP


def test_the_page_holds_step_slot_and_function_side_by_side() -> None:
    page = bytearray(SIZE)
    STEP.pack_into(page, 0, 3)
    PLACE.pack_into(page, STEP.size, NO_SLOT, b"CA_GetTokenStorageInformation")

    assert STEP.unpack_from(page) == (3,)
    slot, function = PLACE.unpack_from(page, STEP.size)
    assert slot == NO_SLOT
    assert function.rstrip(b"\0") == b"CA_GetTokenStorageInformation"
