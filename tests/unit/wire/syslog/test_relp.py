"""The client's side of RELP, fed with everything a server may say."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.wire.syslog.relp import (
    MAX_TXNR,
    Accepted,
    Closed,
    Opened,
    Rejected,
    RelpAnswer,
    RelpError,
    RelpSession,
    RelpState,
)

OPEN = b"1 open 55 \nrelp_version=0\nrelp_software=hsm-agent\ncommands=syslog\n"
# As librelp 1.11 answers.
OPENED = b"1 rsp 93 200 OK\nrelp_version=0\nrelp_software=librelp,1.11.0,http://librelp.adiscon.com\ncommands=syslog\n"


def opened(window: int = 128) -> RelpSession:
    session = RelpSession(window=window)
    session.open()
    assert session.receive(OPENED) == [Opened()]
    return session


def with_messages(count: int, window: int = 128) -> RelpSession:
    session = opened(window)
    for number in range(count):
        session.syslog(b"%d" % number)
    return session


def test_a_whole_session_octet_by_octet() -> None:
    session = RelpSession(window=2)

    assert session.open() == OPEN
    assert session.receive(OPENED) == [Opened()]
    assert session.syslog(b"hello") == (2, b"2 syslog 5 hello\n")
    assert session.syslog(b"two\nlines") == (3, b"3 syslog 9 two\nlines\n")
    assert session.receive(b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n") == [Accepted(txnr=2), Accepted(txnr=3)]
    assert session.close() == b"4 close 0\n"
    assert session.receive(b"4 rsp 0\n0 serverclose 0\n") == [Closed(by_server=False)]
    assert session.state is RelpState.CLOSED


def test_an_empty_message_has_no_space_before_its_trailer() -> None:
    assert opened().syslog(b"") == (2, b"2 syslog 0\n")


@pytest.mark.parametrize(
    ("octets", "answers"),
    [
        pytest.param(b"2 rsp 6 200 OK\n", [Accepted(txnr=2)], id="accepted"),
        pytest.param(b"2 rsp 3 200\n", [Accepted(txnr=2)], id="accepted without a word"),
        pytest.param(b"2 RSP 6 200 OK\n", [Accepted(txnr=2)], id="command in capitals"),
        pytest.param(b"002 rsp 006 200 OK\n", [Accepted(txnr=2)], id="leading zeros"),
        pytest.param(
            b"2 rsp 20 500 command disabled\n", [Rejected(txnr=2, status=500, text="command disabled")], id="refused"
        ),
        pytest.param(b"4 rsp 6 200 OK\n2 rsp 3 200\n", [Accepted(txnr=4), Accepted(txnr=2)], id="out of order"),
        pytest.param(b"0 serverclose 0\n", [Closed(by_server=True)], id="the server says goodbye"),
        pytest.param(b"0 serverclose 0\n2 rsp 6 200 OK\n", [Closed(by_server=True)], id="nothing counts after that"),
        pytest.param(b"0 starttls 0\n2 rsp 6 200 OK\n", [Accepted(txnr=2)], id="an unknown hint is passed over"),
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_answers(octets: bytes, answers: list[RelpAnswer], piece: int) -> None:
    session = with_messages(3)

    found: list[RelpAnswer] = []
    for start in range(0, len(octets), piece):
        found += session.receive(octets[start : start + piece])

    assert found == answers


def test_half_a_frame_waits_for_the_rest() -> None:
    session = with_messages(1)

    assert session.receive(b"2 rsp 6 200 OK") == []
    assert session.outstanding == 1
    assert session.receive(b"\n") == [Accepted(txnr=2)]
    assert session.outstanding == 0


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        pytest.param(b"5 rsp 6 200 OK\n", "not outstanding", id="never sent"),
        pytest.param(b"1 rsp 6 200 OK\n", "not outstanding", id="open answered twice"),
        pytest.param(b"2 rsp 0\n", "without a status", id="nothing said"),
        pytest.param(b"2 rsp 2 OK\n", "without a status", id="no number"),
        pytest.param(b"2 rsp 6 200 OK!", "trailer", id="no trailer"),
        pytest.param(b"2 rsp 6\n", "none sent", id="no data"),
        pytest.param(b"2 syslog 2 hi\n", "sent the command 'syslog'", id="a command"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n", "not a RELP frame", id="a web server"),
        pytest.param(b"2 rsp 99999 x", "more than", id="too much announced"),
        pytest.param(b"2222222222 rsp 6 200 OK\n", "not a RELP frame", id="ten digits"),
        pytest.param(b"x" * 100, "not a RELP frame", id="endless header"),
    ],
)
def test_a_server_that_breaks_the_protocol_ends_the_session(octets: bytes, why: str) -> None:
    session = with_messages(3)

    with pytest.raises(RelpError, match=why):
        session.receive(octets)

    assert session.state is RelpState.CLOSED
    with pytest.raises(RelpError, match=why):
        session.receive(b"3 rsp 6 200 OK\n")


def test_answers_before_what_is_wrong_still_count() -> None:
    session = with_messages(3)

    assert session.receive(b"2 rsp 6 200 OK\n2 rsp 6 200 OK\n3 rsp 6 200 OK\n") == [Accepted(txnr=2)]
    assert (session.state, session.outstanding) == (RelpState.CLOSED, 2)
    with pytest.raises(RelpError, match="an answer to transaction 2, which is not outstanding"):
        session.receive(b"")


def test_after_the_end_nothing_is_heard() -> None:
    session = with_messages(1)
    session.receive(b"0 serverclose 0\n")

    assert session.receive(b"2 rsp 6 200 OK\n") == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"1 rsp 44 500 required command not supported by client\n", "refused the session: 500"),
        (b"1 rsp 34 200 OK\nrelp_version=0\ncommands=foo\n", "does not take syslog, only foo"),
        (b"1 rsp 0\n", "without a status"),
        (b"2 rsp 6 200 OK\n", "not outstanding"),
    ],
)
def test_a_session_that_is_not_opened_is_an_error(answer: bytes, why: str) -> None:
    session = RelpSession(window=1)
    session.open()

    with pytest.raises(RelpError, match=why):
        session.receive(answer)


def test_an_open_answer_without_offers_is_enough() -> None:
    session = RelpSession(window=1)
    session.open()

    assert session.receive(b"1 rsp 6 200 OK\n") == [Opened()]


def test_the_window_is_kept() -> None:
    session = with_messages(2, window=2)
    assert session.room == 0

    with pytest.raises(RelpError, match="no room"):
        session.syslog(b"one too many")
    session.receive(b"2 rsp 6 200 OK\n")

    assert session.room == 1
    assert session.syslog(b"next")[0] == 4


def test_nothing_is_sent_outside_a_session() -> None:
    session = RelpSession(window=1)
    for act in (session.close, lambda: session.syslog(b"x")):
        with pytest.raises(RelpError, match="the session is new"):
            act()
    session.open()
    with pytest.raises(RelpError, match="the session is opening"):
        session.open()


def test_answers_still_due_are_taken_while_closing() -> None:
    session = with_messages(1)
    session.close()

    assert session.room == 0
    assert session.receive(b"2 rsp 6 200 OK\n3 rsp 0\n") == [Accepted(txnr=2), Closed(by_server=False)]


def test_transaction_numbers_never_wrap() -> None:
    session = opened()
    session._txnr = MAX_TXNR - 2

    assert session.syslog(b"last")[0] == MAX_TXNR - 1
    assert session.exhausted
    with pytest.raises(RelpError):
        session.syslog(b"too late")
    assert session.close() == b"999999999 close 0\n"


@given(
    st.lists(st.binary(max_size=80) | st.sampled_from([b"2 rsp 6 200 OK\n", b"3 rsp 3 500\n", b"0 serverclose 0\n"]))
)
def test_random_octets_raise_relp_error_only_and_are_not_hoarded(chunks: list[bytes]) -> None:
    session = with_messages(2)

    with contextlib.suppress(RelpError):
        for chunk in chunks:
            session.receive(chunk)

    assert len(session._buffer) <= 16 * 1024 + 64
