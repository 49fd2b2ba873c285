from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.collect.pkcs11.parse import ParsedPoll, parse, session_scope, tokens_watched
from hsm_agent.collect.pkcs11.poll_state import ParseOptions, PollMemory
from hsm_agent.collect.pkcs11.recording import RawPoll
from hsm_agent.collect.pkcs11.token import TokenIdentity
from hsm_agent.metrics import METRICS
from tests.unit.collect.pkcs11_raws import ALL_ONES, AT, asked, info_hex, raw, swept

if TYPE_CHECKING:
    from hsm_agent.model import Reading

RECORDED = Path(__file__).resolve().parents[3] / "data" / "pkcs11"
OPTIONS = ParseOptions(name="hsm")
DEVICE_ERROR = 0x30
LOG_FULL = 0x80000035


def _find(parsed: ParsedPoll, resource: str, metric: str) -> Reading:
    (found,) = [reading for reading in parsed.readings if (reading.resource, reading.metric) == (resource, metric)]
    return found


def _value(parsed: ParsedPoll, resource: str, metric: str) -> Any:
    return _find(parsed, resource, metric).value


def _recorded(name: str) -> RawPoll:
    return RawPoll.from_json(json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8")))


def test_replays_opencryptoki() -> None:
    parsed = parse(_recorded("opencryptoki"), ParseOptions(name="hsm", sessions_max={"token-1": 32}), PollMemory())

    assert _value(parsed, "token-1", "token_sessions") == 8
    assert _value(parsed, "token-1", "token_sessions_used_percent") == 25
    assert _value(parsed, "token-1", "token_pin_state") == 1
    assert _value(parsed, "token-1", "token_alive") == 1
    assert _find(parsed, "token-1", "token_clock_offset_seconds").reason == "the module's utcTime is malformed"
    assert not parsed.errors


def test_replays_softhsm() -> None:
    parsed = parse(_recorded("softhsm"), OPTIONS, PollMemory())

    present = [reading.resource for reading in parsed.readings if reading.metric == "token_present"]
    assert present == ["token-1", "token-3"]
    assert _value(parsed, "token-1", "token_clock_offset_seconds") == 0
    assert [r.value for r in parsed.readings if r.metric == "token_initialized"] == [1, 1, 0]


def test_replays_nss_whose_sessions_are_its_own_process_s() -> None:
    parsed = parse(_recorded("nss"), OPTIONS, PollMemory())

    sessions = [reading for reading in parsed.readings if reading.metric == "token_sessions"]
    assert sessions
    assert all(reading.value is None for reading in sessions)
    assert all("own sessions only" in reading.reason for reading in sessions)
    memory = [reading for reading in parsed.readings if reading.metric == "token_memory_private_used_percent"]
    assert all(reading.value is None for reading in memory)


@pytest.mark.parametrize("name", ["nss", "opencryptoki", "softhsm"])
def test_every_metric_is_in_the_catalogue_and_no_reading_is_both_or_neither(name: str) -> None:
    parsed = parse(_recorded(name), OPTIONS, PollMemory())

    assert {reading.metric for reading in parsed.readings} <= set(METRICS)
    assert all((reading.value is None) == bool(reading.reason) for reading in parsed.readings)
    assert len({reading.series for reading in parsed.readings}) == len(parsed.readings)


def test_figures_of_the_operator_are_found_by_label_or_serial_before_any_glob() -> None:
    watch = ParseOptions(name="hsm", memory_total={"*": 500, "alpha": 1000}, sessions_max={"S1": 10, "S*": 20})
    parsed = parse(raw(swept(1, free_private=400, sessions=5)), watch, PollMemory())

    assert _value(parsed, "alpha", "token_memory_private_used_percent") == 60
    assert _value(parsed, "alpha", "token_sessions_used_percent") == 50


@pytest.mark.parametrize("rv", [0x3, 0x32, 0xE0, 0xE1])
def test_a_token_that_is_gone_is_absent_and_no_failure(rv: int) -> None:
    before = parse(raw(swept(1), swept(2, label="beta", serial="S2")), OPTIONS, PollMemory())
    parsed = parse(raw(swept(1, rv=rv), swept(2, label="beta", serial="S2")), OPTIONS, before.memory)

    assert _value(parsed, "alpha", "token_present") == 0
    assert _find(parsed, "alpha", "token_pin_state").reason == "the token is not present"
    assert _value(parsed, "beta", "token_present") == 1
    assert parsed.errors == ()
    assert parsed.well


def test_an_empty_slot_is_no_failure() -> None:
    parsed = parse(raw(swept(1, present=False)), OPTIONS, PollMemory())

    assert parsed.well
    assert {reading.metric for reading in parsed.readings} == {"slot_info"}


def test_a_failing_slot_hides_no_other_and_its_readings_have_no_value() -> None:
    before = parse(raw(swept(1), swept(2, label="beta", serial="S2")), OPTIONS, PollMemory())
    parsed = parse(raw(swept(1, rv=DEVICE_ERROR), swept(2, label="beta", serial="S2")), OPTIONS, before.memory)

    lost = [reading for reading in parsed.readings if reading.resource == "alpha"]
    assert {reading.series for reading in lost} == {r.series for r in before.readings if r.resource == "alpha"}
    assert all(reading.value is None for reading in lost)
    assert parsed.errors == ("alpha: C_GetTokenInfo on slot 1 returned CKR_DEVICE_ERROR (0x30)",)
    assert _value(parsed, "beta", "token_present") == 1
    assert parsed.well


def test_a_source_of_which_no_watched_token_can_be_read_is_not_well() -> None:
    parsed = parse(raw(swept(1, rv=DEVICE_ERROR), swept(2, label="", serial="", flags=0)), OPTIONS, PollMemory())

    assert not parsed.well


def test_while_an_unknown_slot_fails_nobody_is_declared_gone() -> None:
    watch = ParseOptions(name="hsm", tokens=("vault", "alpha"))
    parsed = parse(raw(swept(1), swept(2, rv=DEVICE_ERROR)), watch, PollMemory())

    assert _value(parsed, "alpha", "token_present") == 1
    assert _value(parsed, "vault", "token_present") is None
    assert "CKR_DEVICE_ERROR" in _find(parsed, "vault", "token_present").reason


def test_a_token_that_hung_says_so() -> None:
    before = parse(raw(swept(1), swept(2, label="beta", serial="S2")), OPTIONS, PollMemory())
    failed = [["token", 1, "C_GetTokenInfo on slot 1 did not return within 5 s"]]
    parsed = parse(raw(swept(2, label="beta", serial="S2"), failed=failed), OPTIONS, before.memory)

    assert parsed.errors == ("alpha: C_GetTokenInfo on slot 1 did not return within 5 s",)
    assert _find(parsed, "alpha", "token_present").value is None


def test_the_first_reason_is_that_of_what_failed_not_of_what_was_never_reached() -> None:
    parsed = parse(raw(failed=[["token", 2, "it hung"]], slots=[1, 2]), OPTIONS, PollMemory())

    assert parsed.errors == ("it hung", "not reached in this poll")


def test_a_full_log_is_a_finding_of_the_token_not_a_failure_of_the_source() -> None:
    luna: dict[str, Any] = {"functions": ["CA_LogGetStatus"]}
    before = parse(
        raw(swept(1), asked("audit", 1, "CA_LogGetStatus", [1, 0, 0, 1, 90_000]), **luna), OPTIONS, PollMemory()
    )
    refusing = asked("audit", 1, "CA_LogGetStatus", None, rv=LOG_FULL)
    parsed = parse(raw(swept(1, rv=LOG_FULL), refusing, **luna), OPTIONS, before.memory)

    assert parsed.well
    assert parsed.errors == ()
    assert _value(parsed, "alpha", "audit_used_percent") == 100
    assert _value(parsed, "alpha", "audit_seconds_to_full") == 0
    assert "CKR_LOG_FULL" in _find(parsed, "alpha", "token_memory_private_used_percent").reason


def test_a_token_that_comes_back_under_another_name_leaves_nothing_stale() -> None:
    before = parse(raw(swept(1)), OPTIONS, PollMemory())
    renamed = parse(raw(swept(1, label="omega")), OPTIONS, before.memory)
    later = parse(raw(swept(1, label="omega")), OPTIONS, renamed.memory)

    assert (before.gone, renamed.gone, later.gone) == ((), ("alpha",), ())
    assert {reading.resource for reading in renamed.readings} == {"omega"}
    assert set(later.memory.seen) == {"omega"}


def test_the_token_known_first_keeps_its_label_and_is_missed_by_it() -> None:
    alone = parse(raw(swept(1)), OPTIONS, PollMemory())
    joined = parse(raw(swept(0, serial="S0"), swept(1)), OPTIONS, alone.memory)
    restarted = PollMemory(seen=joined.memory.seen)
    pulled = parse(raw(swept(1, serial="S0")), OPTIONS, restarted)

    assert joined.memory.seen == {"alpha": TokenIdentity("alpha", "S1"), "S0": TokenIdentity("alpha", "S0")}
    assert joined.gone == ()
    assert _value(pulled, "alpha", "token_present") == 0
    assert _value(pulled, "S0", "token_present") == 1


def test_numbers_of_another_process_that_mean_other_tokens_put_no_blame_on_them() -> None:
    before = parse(raw(swept(1), swept(2, label="beta", serial="S2"), process=1), OPTIONS, PollMemory())
    failed = [["token", 1, "it hung"]]
    parsed = parse(raw(swept(2), failed=failed, process=2), OPTIONS, before.memory)

    assert parsed.errors == ("it hung",)
    assert _value(parsed, "alpha", "token_present") == 1
    assert _find(parsed, "beta", "token_present").reason == "it hung"


def test_nobody_is_declared_gone_by_a_number_of_another_process_alone() -> None:
    before = parse(raw(swept(1), swept(2, label="beta", serial="S2"), process=1), OPTIONS, PollMemory())
    failed = [["token", 1, "it hung"]]
    same = parse(raw(failed=failed, process=1), OPTIONS, before.memory)
    other = parse(raw(failed=failed, process=2), OPTIONS, before.memory)

    assert _find(other, "alpha", "token_present").reason == "it hung"
    assert _find(other, "beta", "token_present").reason == "it hung"
    assert _value(same, "beta", "token_present") == 0


def test_a_process_that_numbers_its_slots_as_the_one_before_is_believed() -> None:
    tokens = [swept(1), swept(2, label="beta", serial="S2"), swept(3, label="gamma", serial="S3")]
    before = parse(raw(*tokens, process=1), OPTIONS, PollMemory())
    parsed = parse(raw(tokens[1], failed=[["token", 1, "it hung"]], process=2), OPTIONS, before.memory)

    assert parsed.errors == ("alpha: it hung",)
    assert _value(parsed, "gamma", "token_present") == 0


@pytest.mark.parametrize(
    "found",
    [[swept(1)], [swept(1), swept(3, label="delta", serial="S4")]],
    ids=["the slots that follow moved up", "and a new token has the last one"],
)
def test_a_process_with_other_slots_or_tokens_in_them_tells_nothing_of_one_that_fails(found: list[Any]) -> None:
    tokens = [swept(1), swept(2, label="beta", serial="S2"), swept(3, label="gamma", serial="S3")]
    known = parse(raw(*tokens, process=1), OPTIONS, PollMemory()).memory
    for _ in range(2):
        parsed = parse(raw(*found, failed=[["token", 2, "gamma hung"]], process=2), OPTIONS, known)
        known = parsed.memory

        assert parsed.errors == ("gamma hung",)
        assert _value(parsed, "alpha", "token_present") == 1
        assert _find(parsed, "beta", "token_present").reason == "gamma hung"
        assert _find(parsed, "gamma", "token_present").reason == "gamma hung"


def test_a_glob_that_names_no_token_is_told_once_and_again_when_its_token_was_there_and_left() -> None:
    watch = ParseOptions(name="hsm", tokens=("al*", "tset*", "vault"))
    first = parse(raw(swept(1)), watch, PollMemory())
    second = parse(raw(swept(1)), watch, first.memory)
    blind = parse(raw(swept(1), failed=[["token", 2, "it hung"]]), watch, PollMemory())

    assert first.remarks == (
        "'tset*' in `tokens` names no token; the module shows alpha (S1)",
        "'vault' in `tokens` names no token; the module shows alpha (S1)",
    )
    assert second.remarks == blind.remarks == ()


def test_figures_of_the_operator_for_nobody_are_told() -> None:
    watch = ParseOptions(name="hsm", memory_total={"0": 1000, "alpha": 1000}, sessions_max={"al*": 9})

    assert parse(raw(swept(1)), watch, PollMemory()).remarks == (
        "'0' in `memory_total` names no token; the module shows alpha (S1)",
    )


def test_failures_stand_while_other_things_are_read() -> None:
    failed = [["token", 2, "it hung"]]
    sweep = parse(raw(swept(1), failed=failed), OPTIONS, PollMemory())
    audit = parse(raw(asked("alive", 1, "C_OpenSession", [0]), sweep=False), OPTIONS, sweep.memory)
    well = parse(raw(swept(1)), OPTIONS, audit.memory)

    assert (sweep.errors, sweep.standing) == (("it hung",), ())
    assert (audit.errors, audit.standing) == ((), ("it hung",))
    assert (well.errors, well.standing) == ((), ())


def test_a_name_is_not_given_up_while_its_token_may_be_in_a_slot_that_fails() -> None:
    before = parse(raw(swept(1), swept(2, present=False)), OPTIONS, PollMemory())
    assert "slot 2" in {reading.resource for reading in before.readings}
    blind = parse(raw(swept(1), failed=[["token", 2, "it hung"]], slots=[1, 2]), OPTIONS, before.memory)

    assert blind.gone == ()
    lost = [reading for reading in blind.readings if reading.resource == "slot 2"]
    assert lost
    assert {reading.value for reading in lost} == {None}


def test_a_token_seen_in_an_earlier_life_is_missed() -> None:
    known = PollMemory(seen={"alpha": TokenIdentity("alpha", "S1")})
    parsed = parse(raw(swept(2, label="beta", serial="S2")), OPTIONS, known)

    assert _value(parsed, "alpha", "token_present") == 0
    assert set(parsed.memory.seen) == {"alpha", "beta"}


def test_a_module_that_shows_nothing_to_watch_says_so() -> None:
    nothing = parse(raw(swept(1, label="", serial="", flags=0)), OPTIONS, PollMemory())
    others = parse(raw(swept(1)), ParseOptions(name="hsm", tokens=("x*",)), PollMemory())
    missing = parse(raw(), ParseOptions(name="hsm", tokens=("vault",)), PollMemory())

    assert nothing.errors == ("no token is watched: the module shows no initialised token, none that `tokens` names",)
    assert others.errors == ("no token is watched: the module shows alpha (S1), none that `tokens` names",)
    assert nothing.well
    assert missing.errors == ()


def test_the_clock_is_compared_with_the_moment_it_was_read_not_the_end_of_the_poll() -> None:
    parsed = parse(raw(swept(1, utc_time="2023111422132000"), time=AT + 10), OPTIONS, PollMemory())

    assert _value(parsed, "alpha", "token_clock_offset_seconds") == 0


def test_an_uninitialised_token_is_neither_watched_nor_missed() -> None:
    parsed = parse(raw(swept(1, label="", serial="", flags=0)), OPTIONS, PollMemory())
    after = parse(raw(), OPTIONS, parsed.memory)

    assert _value(parsed, "slot 1", "token_initialized") == 0
    assert parsed.memory.seen == {}
    assert not [reading for reading in after.readings if reading.metric == "token_present"]


def test_tokens_watched_are_the_initialised_ones_that_match() -> None:
    results = [swept(1), swept(2, label="beta", serial="S2"), swept(3, label="alpine", flags=0), swept(4, rv=0x30)]

    assert tokens_watched(raw(*results).results.values(), ["al*"]) == {("alpha", "S1", -1): 1}


@pytest.mark.parametrize(
    ("configured", "names", "scope"),
    [
        ("auto", ("Mozilla Foundation", "", ""), "application"),
        ("auto", ("", "", "/usr/lib/libtpm2_pkcs11.so.1"), "application"),
        ("auto", ("IBM", "IBM Corp.", "libopencryptoki.so"), "token"),
        ("auto", ("SafeNet", "SafeNet", "libCryptoki2_64.so"), "token"),
        ("token", ("Mozilla Foundation", "", ""), "token"),
        ("application", ("SafeNet", "", ""), "application"),
    ],
)
def test_session_scope(configured: str, names: tuple[str, ...], scope: str) -> None:
    assert session_scope(configured, names) == scope


def test_nss_is_known_by_its_library() -> None:
    parsed = parse(raw(swept(1, sessions=4), info=info_hex("Mozilla Foundation")), OPTIONS, PollMemory())

    assert _value(parsed, "alpha", "token_sessions") is None


_ULONGS = st.sampled_from([0, 1, 2, 1000, 2**32 - 1, 2**63, ALL_ONES - 1, ALL_ONES])
_FIELDS = ("flags", "max_sessions", "sessions", "total_private", "free_private", "total_public", "free_public")


@given(
    numbers=st.fixed_dictionaries(dict.fromkeys(_FIELDS, _ULONGS)),
    label=st.binary(max_size=32),
    serial=st.binary(max_size=16),
    utc_time=st.binary(max_size=16),
)
def test_whatever_a_module_writes_makes_readings_and_no_error(
    numbers: dict[str, Any], label: bytes, serial: bytes, utc_time: bytes
) -> None:
    parsed = parse(raw(swept(1, **numbers, label=label, serial=serial, utc_time=utc_time)), OPTIONS, PollMemory())

    assert parsed.well
    for reading in parsed.readings:
        assert (reading.value is None) == bool(reading.reason)
        if reading.metric.endswith("memory_private_used_percent") and reading.value is not None:
            assert 0 <= reading.value <= 100


def test_partitions_of_a_luna_know_their_hsm_and_a_group_knows_none() -> None:
    slots = {1: "154438865287", 2: "154438865304", 3: "1238700701509"}
    results = [swept(slot, label=f"p{slot}", serial=serial) for slot, serial in slots.items()]
    luna = parse(raw(*results, functions=["CA_LogGetStatus"]), OPTIONS, PollMemory())
    other = parse(raw(*results), OPTIONS, PollMemory())

    assert {(each.resource, each.hsm) for each in luna.readings} == {("p1", "66331"), ("p2", "66331"), ("p3", "532018")}
    assert {each.hsm for each in other.readings} == {""}
    missing = parse(raw(functions=["CA_LogGetStatus"]), OPTIONS, luna.memory)
    assert {(each.resource, each.hsm) for each in missing.readings} >= {("p1", "66331"), ("p3", "532018")}
