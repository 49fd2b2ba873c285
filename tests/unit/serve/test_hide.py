"""What `serve.hide` hides is in no place of a view; a present with a marker in every place is walked to see it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.serve.hide import PREFIX, Mask, pseudonym
from hsm_agent.serve.http.connection import HttpRequest
from hsm_agent.serve.http.server import render
from hsm_agent.text import harmless
from tests.fakes.marked import FIRMWARE, LABELS, SERIALS, info, marked_snapshot, marked_store
from tests.fakes.present import make_alarm, make_reading
from tests.fakes.snmp_listing import EVERYTHING, listed, tables

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.serve.settings import HideKind
    from hsm_agent.serve.snmp.tables import Scope
    from hsm_agent.store import Store

KEY = bytes(range(32))
PATHS = ("/", "/metrics", "/api/v1/status")
MARKS = {"labels": r"MARK|\bMk\b", "serials": r"774185|SER-", "firmware": r"99\.88|66\.55"}
"""What no view that hides the kind may hold. `SER-short` and the like are serials too."""


def over_http(path: str, *hidden: str) -> str:
    mask = Mask(cast("tuple[HideKind, ...]", hidden), KEY)
    body = render(HttpRequest(method="GET", path=path), marked_snapshot(), ("source luna-a",), mask).body.decode()
    return body.encode().decode("unicode_escape") if path == "/api/v1/status" else body


async def over_snmp(folder: Path, *hidden: str, store: Store | None = None, scope: Scope = EVERYTHING) -> str:
    mask = Mask(cast("tuple[HideKind, ...]", hidden), KEY) if hidden else None
    made = await tables(folder, store or marked_store(), scope, mask=mask)
    values = [value for value in listed(made, scope).values() if isinstance(value, bytes)]
    return "\n".join(value.decode("utf-8", "replace") for value in values)


def found(kind: str, text: str) -> list[str]:
    return re.findall(f"(?:{MARKS[kind]}).{{0,20}}", text)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("hidden", [(), *((kind,) for kind in MARKS), tuple(MARKS)], ids=str)
def test_no_path_of_http_shows_what_is_hidden(path: str, hidden: tuple[str, ...]) -> None:
    text = over_http(path, *hidden)

    assert {kind: found(kind, text) for kind in hidden} == {kind: [] for kind in hidden}
    assert all(found(kind, text) for kind in MARKS if kind not in hidden), "the walk sees what is not hidden"


@pytest.mark.parametrize("hidden", [(), *((kind,) for kind in MARKS), tuple(MARKS)], ids=str)
async def test_no_object_of_snmp_shows_what_is_hidden(tmp_path: Path, hidden: tuple[str, ...]) -> None:
    text = await over_snmp(tmp_path, *hidden)

    assert {kind: found(kind, text) for kind in hidden} == {kind: [] for kind in hidden}
    assert all(found(kind, text) for kind in MARKS if kind not in hidden)


async def test_a_name_has_the_same_pseudonym_in_every_place_and_view(tmp_path: Path) -> None:
    label = pseudonym(LABELS["label"], KEY)
    serial = pseudonym(SERIALS["token"], KEY)

    texts = [over_http(path, *MARKS) for path in PATHS] + [await over_snmp(tmp_path, *MARKS)]

    assert re.fullmatch("hidden-[a-z2-7]{8}", label)
    assert all(label in text and serial in text for text in texts)
    assert f"Token luna-a/{label} of HSM {pseudonym(SERIALS['HSM'], KEY)} is full." in texts[3]
    assert f'resource="{label}"' in texts[1]
    assert f'label="{label}"' in texts[1]


async def test_rows_keep_their_numbers_and_scopes_go_by_the_true_names(tmp_path: Path) -> None:
    scope: Scope = frozenset({"MARK-part*", SERIALS["token"]})
    masks = (None, Mask(["labels"], KEY))
    open_view, hidden_view = [listed(await tables(tmp_path, marked_store(), scope, mask=mask), scope) for mask in masks]

    assert list(open_view) == list(hidden_view)
    assert open_view != hidden_view
    assert len(open_view) > 50


async def test_a_name_that_is_learnt_later_leaves_what_was_shown_before(tmp_path: Path) -> None:
    store = marked_store()
    made = await tables(tmp_path, store, mask=Mask(["labels"], KEY))
    sink = store.sinks["noc"]
    store.set_sink(type(sink)(name="noc", kind=sink.kind, guarantee=sink.guarantee, last_error="about late-comer"))
    store.sources["soft"] = store.sources["luna-a"]
    before = listed(made)
    store.update([make_reading("token_present", 1, source="soft", resource="late-comer")])

    await made.refresh(["soft"], alarms=False)
    text = str(listed(made))

    assert b"about late-comer" in before.values()
    assert "late-comer" not in text


def test_parts_of_an_appliance_and_names_of_the_operator_are_shown() -> None:
    text = over_http("/metrics", *MARKS)

    assert 'resource="fan 1"' in text
    assert 'resource="slot 4"' in text
    assert 'source="luna-a"' in text


# One mask


def mask_of(*hidden: HideKind, label: str = "payments", serial: str = "154438", firmware: str = "7.4.0") -> Mask:
    mask = Mask(hidden, KEY)
    mask.learn([make_reading("token_info", 1, resource=label, labels=info(label, serial, firmware))])
    return mask


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("payments", "*"),
        ("luna-a/payments: full", "luna-a/*: full"),
        ("repayments too", "re* too"),
        ("Payments", "Payments"),
        ("payment", "payment"),
    ],
)
def test_a_name_is_found_within_a_text(text: str, expected: str) -> None:
    assert mask_of("labels").text(text) == expected.replace("*", pseudonym("payments", KEY))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7.4.0", "*"),
        ("firmware 7.4.0.", "firmware *."),
        ("17.4.0", "17.4.0"),
        ("7.4.01", "7.4.01"),
        ("7.4.0.1", "7.4.0.1"),
        ("1.7.4.0", "1.7.4.0"),
        ("7.4.0 % used", "7.4.0 % used"),
    ],
)
def test_a_version_is_no_part_of_a_longer_number_nor_a_share(text: str, expected: str) -> None:
    assert mask_of("firmware").text(text) == expected.replace("*", pseudonym("7.4.0", KEY))


@pytest.mark.parametrize(("text", "expected"), [("HA is up", "* is up"), ("HAND", "HAND"), ("(HA)", "(*)")])
def test_a_short_name_is_a_word_of_its_own(text: str, expected: str) -> None:
    assert mask_of("labels", label="HA").text(text) == expected.replace("*", pseudonym("HA", KEY))


def test_a_short_name_is_found_in_a_script_without_spaces() -> None:
    mask = mask_of("labels", label="付款")

    assert mask.text("令牌luna-a/付款已满") == f"令牌luna-a/{pseudonym('付款', KEY)}已满"


def test_the_longer_of_two_names_goes_first() -> None:
    mask = mask_of("labels")
    mask.learn([make_reading("token_info", 1, resource="x", labels=info("payments-eu", "1"))])

    assert mask.text("payments-eu, payments") == f"{pseudonym('payments-eu', KEY)}, {pseudonym('payments', KEY)}"


def test_a_name_is_known_as_it_is_shown_elsewhere() -> None:
    mask = mask_of("labels", label="a\x1b[31m payments")

    assert mask.text(f"x {harmless(chr(0x61) + chr(0x1b) + '[31m payments')} y") == f"x {pseudonym(chr(0x61) + chr(0x1b) + '[31m payments', KEY)} y"  # fmt: skip
    assert mask.text("'a\\x1b[31m payments'") == f"'{pseudonym(chr(0x61) + chr(0x1B) + '[31m payments', KEY)}'"


def test_what_is_in_quotes_in_an_error_is_hidden_though_nobody_knows_it() -> None:
    mask = mask_of("labels", "serials")

    assert mask.foreign_text("can't read 'root ca' at \"x\" (0x80000115, 154439001)") == (
        f"can't read '{pseudonym('root ca', KEY)}' at \"{pseudonym('x', KEY)}\" (0x80000115, {pseudonym('154439001', KEY)})"
    )
    assert mask_of("firmware").foreign_text("'root ca' 154439001") == "'root ca' 154439001"


@pytest.mark.parametrize(
    ("metric", "is_unknown", "is_masked"),
    [("log_matches_total", False, True), ("token_objects", True, True), ("token_objects", False, False)],
)
def test_quotes_in_an_alarm_are_hidden_where_they_are_not_the_rules_own(
    metric: str, is_unknown: bool, is_masked: bool
) -> None:
    mask, text = mask_of("labels"), "Unknown: call 'Bob' about 123456 objects of payments"

    shown = mask.alarm_text(text, metric, is_unknown=is_unknown)

    assert ("Bob" not in shown) is is_masked
    assert shown.endswith(f"about 123456 objects of {pseudonym('payments', KEY)}")


def test_what_another_agent_says_of_its_tokens_is_cut_behind_the_source() -> None:
    mask, note = mask_of("labels"), "token-memory luna-b/Root CA: Root CA is full"

    assert mask.note(note, "fleet_alarms") == "token-memory luna-b/…"
    assert mask.alarm_text(f"fra-2: {note}", "fleet_alarms", is_unknown=False) == "fra-2: token-memory luna-b/…"
    assert mask_of("firmware").note(note, "fleet_alarms") == note
    assert mask.note(note, "other_metric") == note


def test_a_known_name_in_quotes_has_its_one_pseudonym() -> None:
    assert mask_of("labels").foreign_text("'payments'") == f"'{pseudonym('payments', KEY)}'"


def test_a_resource_that_may_be_either_is_hidden_until_it_is_known_which_it_is() -> None:
    mask = Mask(["serials"], KEY)
    mask.learn([make_reading("token_present", 0, resource="payments")])
    unsure = mask.name("payments")

    is_news = mask.learn([make_reading("token_info", 1, resource="payments", labels=info("payments", "154438"))])

    assert unsure.startswith(PREFIX)
    assert is_news
    assert mask.name("payments") == "payments"
    assert mask.name("154438").startswith(PREFIX)


def test_a_certificates_serial_number_is_not_an_hsms() -> None:
    mask = Mask(["serials", "labels"], KEY)
    labels = (("serial", "12"), ("subject", "CN=x"))
    mask.learn([make_reading("certificate_info", 1, resource="hsm.example.net:443", labels=labels)])

    assert mask.labels("certificate_info", labels) == labels
    assert mask.name("hsm.example.net:443") == "hsm.example.net:443"


def test_sinks_and_workers_of_the_agent_are_no_tokens() -> None:
    mask = Mask(["labels"], KEY)
    mask.learn([make_reading("sink_up", 1, source="agent", resource="noc")], [make_alarm(resource="gone")])

    assert mask.name("noc") == "noc"
    assert mask.name("gone") == pseudonym("gone", KEY)


def test_a_glob_of_a_silence_is_hidden_but_for_everything() -> None:
    assert mask_of("serials").glob("pay*").startswith(PREFIX)
    assert mask_of("serials").glob("*") == "*"
    assert mask_of("firmware").glob("pay*") == "pay*"


def test_learning_the_same_again_is_no_news() -> None:
    mask, readings = mask_of("labels"), [make_reading("token_objects", 1, resource="payments")]

    assert not mask.learn(readings, [make_alarm()])
    assert mask.learn([make_reading("token_objects", 1, resource="backup")])


def test_a_mask_of_nothing_changes_nothing() -> None:
    assert over_http("/metrics") == render(HttpRequest(method="GET", path="/metrics"), marked_snapshot()).body.decode()


def test_keys_make_other_pseudonyms() -> None:
    assert pseudonym("payments", KEY) != pseudonym("payments", bytes(32))


def test_many_texts_do_not_take_memory_for_ever() -> None:
    mask = mask_of("labels")
    for number in range(20_000):
        mask.text(f"payments {number}")

    assert len(mask._texts) <= 16_384


async def test_the_walk_would_see_every_marker(tmp_path: Path) -> None:
    everything = "\n".join([*(over_http(path) for path in PATHS), await over_snmp(tmp_path)])
    markers = [*LABELS.values(), *SERIALS.values(), *FIRMWARE.values()]

    assert [each for each in markers if harmless(each) not in everything] == []
    assert all(re.search("|".join(MARKS.values()), each) for each in markers)


@given(st.text(min_size=1, max_size=40).filter(str.strip), st.text(max_size=20), st.text(max_size=20))
def test_no_label_of_any_letters_is_left_in_a_text(label: str, before: str, after: str) -> None:
    """Between blanks, as texts of alarms are written; whatever the label's letters are."""
    mask = mask_of("labels", label=label)
    shown = pseudonym(label, KEY)

    assert mask.name(label) == shown
    assert shown in mask.text(f"x {label} y")
    if label not in f"{shown} x y hidden- {before} {after}":
        assert label not in mask.text(f"{before} {label} {after}") or label in shown
