"""What etcd's answers mean: the texts are those of 3.4.23; a newer gateway leaves `error` out."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.net.etcd_messages import (
    AuthenticationIsOff,
    Compacted,
    EndpointDown,
    EtcdRefused,
    EtcdTrouble,
    EtcdUnavailable,
    KeyValue,
    LeaseGone,
    NoProof,
    NotPermitted,
    PasswordRefused,
    Put,
    TokenEnded,
    content_of,
    found_in,
    prefix_end,
    put_of,
    refuse_too_large,
    revision_in,
    transacted_in,
    whole_in,
)
from hsm_agent.net.http_answer import HttpAnswer

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["header", "revision", "kvs", "key", "error", "message", "result", "ID"]), inner
        )
    ),
    max_leaves=12,
)


def answer(content: object, status: int = 200) -> HttpAnswer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return HttpAnswer(status=status, headers=(), body=body)


def refusal(message: str, status: int = 400, code: int = 3) -> HttpAnswer:
    return answer({"error": message, "message": message, "code": code}, status)


@pytest.mark.parametrize(
    ("said", "kind", "sent"),
    [
        (refusal("etcdserver: no leader", 503, 14), EndpointDown, False),
        (refusal("etcdserver: mvcc: database space exceeded", 429, 8), EndpointDown, False),
        (refusal("etcdserver: request timed out", 503, 14), NoProof, True),
        (refusal("etcdserver: leader changed", 503, 14), NoProof, True),
        (refusal("etcdserver: too many requests", 429, 8), NoProof, True),
        (refusal("etcdserver: invalid auth token", 401, 16), TokenEnded, False),
        (refusal("etcdserver: user name is empty", 400, 3), TokenEnded, False),
        (refusal("etcdserver: revision of auth store is old", 400, 3), TokenEnded, False),
        (refusal("etcdserver: authentication failed, invalid user ID or password"), PasswordRefused, False),
        (refusal("etcdserver: authentication is not enabled", 412, 9), AuthenticationIsOff, False),
        (refusal("etcdserver: permission denied", 403, 7), NotPermitted, False),
        (refusal("etcdserver: mvcc: required revision has been compacted", 400, 11), Compacted, False),
        (refusal("etcdserver: requested lease not found", 404, 5), LeaseGone, False),
        (answer({"code": 5, "message": "etcdserver: requested lease not found", "details": []}, 404), LeaseGone, False),
        (answer({"error": {"grpc_code": 14, "message": "etcdserver: no leader"}}, 503), EndpointDown, False),
        (answer({"error": {"grpc_code": 5, "message": "etcdserver: requested lease not found"}}), LeaseGone, False),
        (answer(b"Not Found\n", 404), NoProof, False),
        (answer(b"CommonName of client sending a request against gateway", 400), NoProof, False),
        (answer(b"<html>", 200), NoProof, True),
        (answer(b"[" * 100_000, 200), NoProof, True),
        (answer([], 200), NoProof, True),
        (answer({"result": 7}, 200), NoProof, True),
        (answer({"error": {}}, 502), NoProof, True),
    ],
)
def test_a_refusal_says_whose_it_is_and_whether_the_request_may_be_done_yet(
    said: HttpAnswer, kind: type[EtcdTrouble], sent: bool
) -> None:
    with pytest.raises(EtcdTrouble) as caught:
        content_of("http://a:2379", said)

    assert (type(caught.value), caught.value.sent) == (kind, sent)
    assert str(caught.value).startswith("http://a:2379: ")


def test_what_a_stranger_says_is_quoted_as_one_short_line() -> None:
    with pytest.raises(NoProof) as caught:
        content_of("http://a:2379", answer(b"a\nb\x1b[31m" + b"x" * 5000, 404))

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 220


def test_a_stream_is_read_as_its_one_message() -> None:
    assert content_of("e", answer(b'{"result":{"header":{"revision":"4"},"ID":"12345","TTL":"5"}}\n'))["TTL"] == "5"


def test_absent_members_are_zero_empty_and_false() -> None:
    header = {"header": {"revision": "7", "raft_term": "2"}}

    found = found_in({**header, "kvs": [{"key": "L2E=", "mod_revision": "6"}]}, most=1)
    assert found.entries == (KeyValue(key=b"/a", value=b"", mod_revision=6, create_revision=0, lease=0),)
    assert (found.revision, found.more) == (7, False)
    assert found_in(header, most=1).entries == ()
    assert (transacted_in(header).succeeded, transacted_in(header).revision) == (False, 7)
    assert transacted_in({**header, "succeeded": True}).succeeded


def test_numbers_are_text_or_not() -> None:
    assert whole_in({"ID": "-9223372036854775808"}, "ID") == -(2**63)
    assert whole_in({"ID": 12}, "ID") == 12
    wrongs: list[object] = ["", "x", "9" * 5000, 2**63, 1.5, True, None, [], "9223372036854775808"]
    for wrong in wrongs:
        with pytest.raises(ValueError):
            whole_in({"ID": wrong}, "ID")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"header": {}},
        {"header": {"revision": "0"}},
        {"header": {"revision": "1"}, "kvs": {}},
        {"header": {"revision": "1"}, "kvs": ["x"]},
        {"header": {"revision": "1"}, "kvs": [{"key": "*"}]},
        {"header": {"revision": "1"}, "kvs": [{"key": 5}]},
    ],
)
def test_what_is_no_range_is_no_value(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        found_in(wrong, most=2)


@given(content=JSON_VALUES, status=st.sampled_from([200, 400, 401, 404, 429, 500, 503]))
def test_no_answer_does_more_than_it_may(content: object, status: int) -> None:
    try:
        read = content_of("e", answer(content, status))
    except EtcdTrouble:
        return
    for reader in (partial(found_in, most=1), transacted_in, revision_in):
        try:
            reader(read)
        except ValueError:
            continue


@given(prefix=st.binary(min_size=1, max_size=4).filter(lambda octets: set(octets) != {255}), rest=st.binary(max_size=3))
def test_a_prefix_ends_behind_all_that_begins_with_it(prefix: bytes, rest: bytes) -> None:
    end = prefix_end(prefix)

    assert prefix <= prefix + rest < end
    assert not end.startswith(prefix)


def test_values_of_any_octets_are_written_in_base64() -> None:
    assert put_of(Put(key=b"/a", value=b"\x00\xff", lease=5)) == {"key": "L2E=", "value": "AP8=", "lease": "5"}


def test_what_etcd_would_take_for_too_large_is_told_in_its_own_words() -> None:
    refuse_too_large((), (Put(key=b"/a", value=b"x" * 1_500_000),))
    with pytest.raises(EtcdRefused, match=r"too large: 1572996 octets, and etcd takes 1572864 \(1.5 MiB\) at once"):
        refuse_too_large((b"/k",), (Put(key=b"/a", value=b"x" * 1_572_864),))


def test_an_outage_is_told_endpoint_by_endpoint() -> None:
    troubles: dict[str, EndpointDown | NoProof] = {
        "a": EndpointDown("a: connection refused"),
        "b": NoProof("b: silent", sent=True),
    }

    found = EtcdUnavailable(troubles)

    assert str(found) == "a: connection refused; b: silent"
    assert found.sent
    assert found.troubles == troubles
