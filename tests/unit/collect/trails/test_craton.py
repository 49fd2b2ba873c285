"""The chain of Craton's audit log, as written and as documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.collect.trails.chain import ChainState, TrailVerdict
from hsm_agent.collect.trails.craton import CratonChain, CratonDocumentedChain
from tests.peers.trails import CratonWriter, DocumentedWriter, craton_payload

REAL = Path(__file__).parents[3] / "data/craton"


def _fed(lines: list[bytes], follows: str = "") -> CratonChain:
    chain = CratonChain(follows=follows)
    chain.feed_all([line.rstrip(b"\n") for line in lines])
    return chain


def test_what_the_software_wrote_is_intact() -> None:
    chain = _fed((REAL / "audit_real.jsonl").read_bytes().splitlines())

    assert chain.verdict is TrailVerdict.INTACT
    assert (chain.state.entries, chain.state.bad_lines) == (34, 0)


def test_a_rotated_file_follows_the_hash_of_the_one_before() -> None:
    older = _fed((REAL / "rot.jsonl.1").read_bytes().splitlines())
    newer = (REAL / "rot.jsonl").read_bytes().splitlines()

    assert _fed(newer).verdict is TrailVerdict.ANCHOR_UNKNOWN
    assert _fed(newer).state.anchor == older.state.newest
    assert _fed(newer, follows=older.state.newest).state.broken is None
    assert _fed(newer, follows="11" * 32).state.broken is not None


def _edited(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], lines[at].replace(b'"session_handle":1', b'"session_handle":7'), *lines[at + 1 :]]


def _swapped(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


LINES = list(CratonWriter().lines(12))


@pytest.mark.parametrize(
    ("lines", "line", "breaks"),
    [
        pytest.param(_edited(LINES, 0), 2, 1, id="the first line is edited"),
        pytest.param(_edited(LINES, 4), 6, 1, id="a line in the middle is edited"),
        pytest.param(_edited(LINES, 10), 12, 1, id="the line before the last is edited"),
        pytest.param(_swapped(LINES, 3), 4, 3, id="two lines are swapped"),
        pytest.param([*LINES[:5], *LINES[6:]], 6, 1, id="one is deleted"),
        pytest.param([*LINES[:5], LINES[4], *LINES[5:]], 6, 1, id="one stands twice"),
    ],
)
def test_a_changed_history_breaks_at_the_line_whose_link_does_not_fit(
    lines: list[bytes], line: int, breaks: int
) -> None:
    chain = _fed(lines)

    assert chain.verdict is TrailVerdict.BROKEN
    assert chain.state.broken is not None
    assert (chain.state.broken.line, chain.state.breaks) == (line, breaks)
    assert len(bytes.fromhex(chain.state.broken.expected)) == len(bytes.fromhex(chain.state.broken.found)) == 32
    assert chain.state.entries == len(lines)


def test_an_edited_last_line_shows_in_the_newest_hash_only() -> None:
    assert _fed(_edited(LINES, 11)).verdict is TrailVerdict.INTACT
    assert _fed(_edited(LINES, 11)).state.newest != _fed(LINES).state.newest


def test_lines_that_are_no_entries_are_counted_and_the_first_is_quoted() -> None:
    bad = [
        b"",
        b"nonsense \x00\xff" * 100,
        b'{"previous_hash":[1,2]}',
        b'{"a":1,"previous_hash":[' + b"1," * 31 + b"256]}",
    ]

    chain = _fed([*LINES[:6], *bad, *LINES[6:]])

    assert chain.verdict is TrailVerdict.INTACT
    assert (chain.state.lines, chain.state.entries, chain.state.bad_lines) == (16, 12, 3)
    assert chain.state.bad_line.startswith("line 8: 'nonsense ")
    assert len(chain.state.bad_line) < 150
    assert chain.state.bad_line.isprintable()


def test_entries_whose_hash_needs_a_key_are_unverifiable_and_not_broken() -> None:
    writer = CratonWriter()
    plain = list(writer.lines(3))
    keyed = [line.replace(b'"format_version":0', b'"format_version":1') for line in writer.lines(3)]

    chain = _fed([*plain, *keyed])

    assert chain.verdict is TrailVerdict.UNVERIFIABLE
    assert chain.state.unverifiable_line == 4
    assert chain.state.entries == 6


def test_a_break_before_keyed_entries_is_still_a_break() -> None:
    keyed = [line.replace(b'"format_version":0', b'"format_version":1') for line in LINES[6:]]

    assert _fed([*_edited(LINES[:6], 2), *keyed]).verdict is TrailVerdict.BROKEN


def test_files_from_before_format_version_are_hashed_without_it() -> None:
    writer = CratonWriter()
    payload = json.dumps(
        {"timestamp": 1, "session_handle": 0, "operation": "Logout", "key_id": None, "result": "Success"}
    )
    lines = [writer.link(payload.replace(" ", "").encode()) for _ in range(3)]

    assert _fed(lines).verdict is TrailVerdict.INTACT


def test_an_entry_says_who_did_what_with_which_result() -> None:
    lines = (REAL / "audit_real.jsonl").read_bytes().splitlines()
    entries = [CratonChain().decode(line) for line in lines]

    failed = [(each.operation, each.result, each.session) for each in entries if not each.is_success]
    assert ("Login", "CKR_PIN_INCORRECT", "1") in failed
    assert ("Login", "CKR_PIN_LOCKED", "1") in failed
    assert {each.mechanism for each in entries if each.operation == "GenerateKeyPair"} <= {
        "CKM_EC_KEY_PAIR_GEN",
        "CKM_RSA_PKCS_KEY_PAIR_GEN",
    }
    assert entries[0].time == pytest.approx(1795224849.2575786)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"1",
        b"{}",
        b'{"operation":{},"result":"Success"}',
        b'{"operation":1,"result":"Success"}',
        b'{"operation":"A"}',
    ],
)
def test_what_is_no_entry_cannot_be_decoded(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        CratonChain().decode(line)


@given(st.binary(max_size=300))
def test_no_line_makes_a_chain_fail(line: bytes) -> None:
    line = line.replace(b"\n", b" ")
    for chain in (CratonChain(), CratonDocumentedChain()):
        chain.feed_all([line, LINES[0].rstrip(), line, line])
        assert chain.state.lines == 4


@given(st.integers(0, 12), st.integers(0, 12))
def test_a_chain_goes_on_from_its_state_wherever_it_was_cut(first: int, second: int) -> None:
    cuts = sorted((first, second))
    state = ChainState()
    for begin, end in ((0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], 12)):
        chain = CratonChain(state)
        chain.feed_all([line.rstrip() for line in LINES[begin:end]])
    assert (state.entries, state.newest, state.broken) == (12, _fed(LINES).state.newest, None)


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("sort_lines", [False, True])
def test_the_documented_form_is_verified_however_its_keys_are_spelt(*, spaced: bool, sort_lines: bool) -> None:
    lines = [line.rstrip() for line in DocumentedWriter(spaced=spaced, sort_lines=sort_lines).lines(9)]
    chain = CratonDocumentedChain()
    chain.feed_all(lines)
    again = CratonDocumentedChain()
    for line in lines:
        again.feed(line)

    assert chain.verdict is again.verdict is TrailVerdict.INTACT
    assert chain.state == again.state
    assert chain.state.entries == 9


def test_the_documented_form_breaks_at_the_line_behind_an_edited_one() -> None:
    lines = [line.rstrip() for line in DocumentedWriter().lines(9)]
    lines[3] = lines[3].replace(b"Login", b"Logon")
    chain = CratonDocumentedChain()
    chain.feed_all(lines)

    assert chain.state.broken is not None
    assert (chain.state.broken.line, chain.state.breaks) == (5, 1)


def test_a_documented_entry_has_seconds_and_symbols() -> None:
    writer = DocumentedWriter()
    entry = CratonDocumentedChain().decode(writer.line("Login", {"Failure": "CKR_PIN_INCORRECT"}, session=4))

    assert (entry.time, entry.operation, entry.result, entry.session) == (
        1_795_224_849,
        "Login",
        "CKR_PIN_INCORRECT",
        "4",
    )


@pytest.mark.parametrize(
    "operation",
    [
        "Logout",
        {"OpenSession": {"slot_id": 0}},
        {"GenerateKey": {"mechanism": 0x1080, "key_length": 256, "fips_approved": True}},
        {"Sign": {"mechanism": 4161, "note": "], key_id"}},
        {"Derive": {"mechanism": [1], "key_id": None}},
    ],
    ids=str,
)
@pytest.mark.parametrize("result", ["Success", {"Failure": 160}, {"Failure": 2**31 + 5}, {"Failure": "CKR_X"}], ids=str)
@pytest.mark.parametrize("key", [None, "k1", 'a"b', "ü", ',"result":"Success"'], ids=repr)
def test_a_line_is_read_the_same_however_json_spells_it(operation: object, result: object, key: object) -> None:
    chain, payload = CratonChain(), {**craton_payload(7, operation, result, session=9), "key_id": key}
    compact = CratonWriter().link(json.dumps(payload, separators=(",", ":")).encode())
    spaced = CratonWriter().link(json.dumps(payload, separators=(", ", ": ")).encode())

    assert chain.decode(compact) == chain.decode(spaced)
