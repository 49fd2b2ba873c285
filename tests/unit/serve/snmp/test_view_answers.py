"""GET, GETNEXT, GETBULK and SET as the RFCs want them answered."""

from __future__ import annotations

import pytest

from hsm_agent.serve.snmp.view import MAX_BULK_VARBINDS, Moment, ResponseContent, Segment, View, answer
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.ber import Oid, VarBind
from hsm_agent.wire.snmp.pdu import CommunityReply, ErrorStatus, PduType, Request, Version, read_varbinds

A, B, C = (1, 3, 6, 1), (1, 3, 6, 2), (1, 3, 6, 3)
END = ber.END_OF_MIB_VIEW_TAG


def segment(prefix: Oid, *rows: int, counter64: bool = False) -> Segment:
    cells = tuple(ber.encode_varbind((*prefix, row), ber.encode_integer(row)) for row in rows)
    return Segment(rows, cells, counter64=counter64)


VIEW = View.of({A: segment(A, 0), B: segment(B, 1, 2, 3), C: segment(C, 1, 3, counter64=True)})
EMPTY = View.of({A: Segment()})


def ask(
    pdu_type: PduType, *names: Oid, first: int = 0, second: int = 0, version: Version = Version.V2C, view: View = VIEW
) -> ResponseContent:
    request = Request(
        version, "nms", "127.0.0.1", 0.0, pdu_type, 1, first, second, names, 65507, 65000, b"", CommunityReply(b"")
    )
    return answer(request, view, Moment(0.0, 0.0))


def varbinds(found: ResponseContent) -> list[tuple[Oid, int]]:
    """Names and tags."""
    return [(one.name, one.tag) for one in read_varbinds(b"".join(found.varbinds))]


def test_get_answers_in_the_order_asked() -> None:
    found = ask(PduType.GET, (*B, 3), (*A, 0))

    assert read_varbinds(b"".join(found.varbinds)) == (VarBind((*B, 3), 2, 3), VarBind((*A, 0), 2, 0))
    assert found[:2] == (ErrorStatus.NO_ERROR, 0)


def test_get_tells_a_missing_instance_from_a_missing_object() -> None:
    found = ask(PduType.GET, (*B, 9), B, (1, 3, 6, 9, 1), (1, 3))

    assert varbinds(found) == [
        ((*B, 9), ber.NO_SUCH_INSTANCE_TAG),
        (B, ber.NO_SUCH_INSTANCE_TAG),
        ((1, 3, 6, 9, 1), ber.NO_SUCH_OBJECT_TAG),
        ((1, 3), ber.NO_SUCH_OBJECT_TAG),
    ]


def test_get_of_version_1_names_the_first_that_is_missing() -> None:
    assert ask(PduType.GET, (*A, 0), (*B, 9), version=Version.V1)[:2] == (ErrorStatus.NO_SUCH_NAME, 2)


def test_version_1_cannot_see_counter64() -> None:
    assert ask(PduType.GET, (*C, 1), version=Version.V1)[:2] == (ErrorStatus.NO_SUCH_NAME, 1)
    assert ask(PduType.GETNEXT, (*B, 3), version=Version.V1)[:2] == (ErrorStatus.NO_SUCH_NAME, 1)


def test_getnext_goes_on_and_says_where_the_view_ends() -> None:
    found = ask(PduType.GETNEXT, (1, 3), (*A, 0), (*B, 2), (*B, 3), (*C, 3))

    assert varbinds(found) == [((*A, 0), 2), ((*B, 1), 2), ((*B, 3), 2), ((*C, 1), 2), ((*C, 3), END)]


def test_getbulk_repeats_one_name() -> None:
    found = ask(PduType.GETBULK, (*A, 0), second=4)

    assert varbinds(found) == [((*B, 1), 2), ((*B, 2), 2), ((*B, 3), 2), ((*C, 1), 2)]


def test_getbulk_ends_with_one_end_of_view_at_the_last_name() -> None:
    found = ask(PduType.GETBULK, (*C, 1), second=10)

    assert varbinds(found) == [((*C, 3), 2), ((*C, 3), END)]


def test_getbulk_behind_the_end_keeps_the_name_asked() -> None:
    assert varbinds(ask(PduType.GETBULK, (1, 4), second=10)) == [((1, 4), END)]


def test_getbulk_in_an_empty_view_keeps_the_name_asked() -> None:
    assert varbinds(ask(PduType.GETBULK, (1, 3), second=2, view=EMPTY)) == [((1, 3), END)]


def test_getbulk_answers_non_repeaters_once_and_the_rest_row_by_row() -> None:
    found = ask(PduType.GETBULK, (1, 3), B, C, first=1, second=2)

    assert varbinds(found) == [((*A, 0), 2), ((*B, 1), 2), ((*C, 1), 2), ((*B, 2), 2), ((*C, 3), 2)]


def test_getbulk_repeats_the_end_until_all_columns_are_there() -> None:
    found = ask(PduType.GETBULK, (*B, 3), (*C, 1), second=10)

    assert varbinds(found) == [
        ((*C, 1), 2),
        ((*C, 3), 2),
        ((*C, 3), 2),
        ((*C, 3), END),
        ((*C, 3), END),
        ((*C, 3), END),
    ]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(5, 3, [(*A, 0), (*B, 1)], id="more non-repeaters than names"),
        pytest.param(-4, 1, [(*A, 0), (*B, 1)], id="negative non-repeaters are none"),
        pytest.param(1, 0, [(*A, 0)], id="no repetitions"),
        pytest.param(0, -7, [], id="negative repetitions are none"),
    ],
)
def test_getbulk_counts_that_are_out_of_range(first: int, second: int, expected: list[Oid]) -> None:
    assert [name for name, _ in varbinds(ask(PduType.GETBULK, (1, 3), (*A, 0), first=first, second=second))] == expected


def test_getbulk_is_capped() -> None:
    long = View.of({A: segment(A, *range(2000))})

    assert len(ask(PduType.GETBULK, A, second=2**31 - 1, view=long).varbinds) == MAX_BULK_VARBINDS
    assert len(ask(PduType.GETBULK, A, A, A, second=2**31 - 1, view=long).varbinds) == MAX_BULK_VARBINDS // 3 * 3
    assert len(ask(PduType.GETBULK, *[A] * 2000, second=5, view=long).varbinds) == MAX_BULK_VARBINDS
    assert len(ask(PduType.GETBULK, *[A] * 2000, first=2000, view=long).varbinds) == MAX_BULK_VARBINDS


@pytest.mark.parametrize("name", [(*A, 0), (*A, 7), (1, 3, 99)])
def test_set_is_refused_whatever_the_name(name: Oid) -> None:
    assert ask(PduType.SET, name, (*B, 1)) == ResponseContent(ErrorStatus.NOT_WRITABLE, 1, ())


@pytest.mark.parametrize("pdu_type", [PduType.GET, PduType.GETNEXT, PduType.GETBULK, PduType.SET])
def test_a_request_for_nothing_is_answered_with_nothing(pdu_type: PduType) -> None:
    found = ask(pdu_type, second=10)

    assert (found.error_status, found.error_index, list(found.varbinds)) == (ErrorStatus.NO_ERROR, 0, [])
