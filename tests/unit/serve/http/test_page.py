"""The status page: what is in it, what can't be, and how much at most."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from hsm_agent.serve.http.page import MOST_LINES, MOST_TOKENS, PageQuery, page
from hsm_agent.serve.http.page.sparkline import sparkline
from tests.fakes.groups import WELL
from tests.fakes.night import HOSTILE, HOUR, day, night
from tests.fakes.present import NOW, known_snapshot, make_alarm

if TYPE_CHECKING:
    from hsm_agent.serve.http.connection import HttpResponse

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer", "nav"),
    *("h1", "h2", "h3", "p", "ol", "ul", "li", "dl", "dt", "dd", "div", "span", "strong", "small", "code", "a"),
    *("bdi", "time", "svg", "rect", "polyline"),
}


class Reader(HTMLParser):
    """Tags, attributes and text as a browser takes them."""

    def __init__(self, answer: HttpResponse) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(answer.body.decode())
        self.text = "".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def shown(query: str = "", *, tokens: int = 0) -> Reader:
    return Reader(page(night(tokens=tokens), query, ()))


def test_hostile_labels_are_text() -> None:
    reader = shown()

    assert reader.tags <= TAGS
    assert not {name for name in reader.attributes if name.startswith("on") or name in {"style", "src"}}
    assert "<script>alert(1)</script>" in reader.text
    assert "{{ 7*7 }}{% for x in y %}" in reader.text
    assert HOSTILE[4] in reader.text
    assert "\u202e" not in reader.text
    assert "\x1b" not in reader.text


def test_a_runbook_is_a_link_only_where_it_is_an_address_of_the_web() -> None:
    reader = shown()

    assert "https://wiki.example.net/hsm/storage" in reader.links
    assert not [link for link in reader.links if link.startswith("javascript")]
    assert "javascript:alert(4)" in reader.text


@pytest.mark.parametrize(
    "runbook", ["http://[", "//elsewhere", "https://", "data:text/html,x", "wiki/hsm", "https://x/\u202ey"]
)
def test_what_is_no_address_of_the_web_is_no_link(runbook: str) -> None:
    alarm = make_alarm()
    present = replace(known_snapshot(), alarms=(replace(alarm, event=replace(alarm.event, runbook=runbook)),))

    assert not [link for link in Reader(page(present, "", ())).links if runbook[:6] in link]


def test_the_policy_lets_nothing_in_but_the_style_that_is_sent() -> None:
    answer = page(night(), "", ())
    style = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()

    assert len(style) == 1
    assert answer.headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.content_type == "text/html; charset=utf-8"


def test_it_refreshes_by_itself_until_it_is_told_not_to() -> None:
    by_itself, still = (page(night(), query, ()) for query in ("", "refresh=off"))

    assert by_itself.headers["Refresh"] == "30"
    assert "Refresh" not in still.headers
    assert "?refresh=off" in Reader(by_itself).links
    assert "./" in Reader(still).links


def test_alarms_say_what_to_do_first() -> None:
    text = " ".join(shown().text.split())

    assert "First: Check that its log drains: the configured path, free space there, the remote host." in text


def test_of_thousands_of_tokens_a_page_is_shown_worst_first() -> None:
    first, last = page(night(tokens=3000), "", ()), page(night(tokens=3000), "page=51", ())
    names = re.findall(r"tenant-\d+", first.body.decode())

    assert first.body.count(b'<li class="card') == MOST_TOKENS
    assert last.body.count(b'<li class="card') == 3014 - 50 * MOST_TOKENS
    assert b"payments" in first.body
    assert not set(names) & set(re.findall(r"tenant-\d+", last.body.decode()))
    assert len(first.body) < 100_000
    assert "?page=2" in Reader(first).links
    assert "?page=50" in Reader(last).links


def test_of_many_alarms_the_rest_is_counted() -> None:
    alarms = tuple(make_alarm(resource=f"t{number}") for number in range(1000))
    answer = page(replace(known_snapshot(), alarms=alarms), "", ())

    assert answer.body.count(b'<li class="alarm') == MOST_LINES
    assert f"and {1000 - MOST_LINES} more" in Reader(answer).text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (1, False)),
        ("page=2", (2, False)),
        ("page=2&refresh=off", (2, True)),
        ("page=0", (1, False)),
        ("page=-1", (1, False)),
        ("page=9999999999999999999999", (1, False)),
        ("page=²", (1, False)),
        ("page=%00&refresh=on", (1, False)),
        ("&" * 5000, (1, False)),
        ("%ff=%ff", (1, False)),
        ("page=2" + "&x=1" * 60, (1, False)),
    ],
)
def test_a_query_that_is_not_understood_counts_as_none(query: str, expected: tuple[int, bool]) -> None:
    assert PageQuery.of(query) == expected


def test_a_page_beyond_the_last_is_the_last() -> None:
    assert b"payments" in page(night(), "page=7", ()).body


def test_links_keep_the_rest_of_the_query() -> None:
    query = PageQuery(2, is_still=True)

    assert query.link(page=3) == "?page=3&refresh=off"
    assert query.link(page=1) == "?refresh=off"
    assert query.link(is_still=False) == "?page=2"
    assert PageQuery().link() == "./"


def test_the_group_is_shown_with_its_members_where_there_is_one() -> None:
    reader = Reader(page(replace(known_snapshot(), group=replace(WELL, leader="")), "", ()))

    assert "group emea: standby" in reader.text
    assert "3 of 3 sources up, version 0.1.0" in reader.text
    assert "nobody leads" in reader.text
    assert "Group" not in shown().text


def test_what_start_up_waits_for_is_said() -> None:
    assert "source luna-z: not polled yet" in Reader(page(night(), "", ("source luna-z: not polled yet",))).text


def test_a_present_without_anything_is_a_page() -> None:
    empty = replace(known_snapshot(), readings=(), sources={}, sinks={}, alarms=(), silences=())
    text = Reader(page(empty, "", ())).text

    assert "Nothing is watched" in text
    assert "Nobody: no sink is configured." in text


# Sparklines


def test_a_sparkline_is_the_last_day_on_a_scale_from_nothing_to_full() -> None:
    line = sparkline(day(0.0, 50.0, 100.0, spacing=12 * HOUR), now=NOW, top=100.0)

    assert line is not None
    assert line.points == "0.0,24.0 50.0,12.0 100.0,0.0"
    assert (line.lowest, line.highest) == (0.0, 100.0)


def test_without_a_full_the_scale_ends_at_the_highest() -> None:
    line = sparkline(day(5.0, 10.0), now=NOW, top=None)

    assert line is not None
    assert line.points == "95.8,12.0 100.0,0.0"


@pytest.mark.parametrize("points", [day(), day(1.0), day(1.0, 2.0, spacing=25 * HOUR), day(1.0, 2.0, 3.0, spacing=720)])
def test_less_than_two_points_of_the_day_or_an_hour_of_it_are_no_line(points: object) -> None:
    assert sparkline(points, now=NOW, top=100.0) is None  # type: ignore[arg-type]  # what day() gives


def test_a_day_of_noughts_is_flat_and_a_value_beyond_full_stays_in_the_box() -> None:
    flat, beyond = sparkline(day(0.0, 0.0), now=NOW, top=None), sparkline(day(-5.0, 130.0), now=NOW, top=100.0)

    assert flat is not None
    assert beyond is not None
    assert flat.points == "95.8,24.0 100.0,24.0"
    assert beyond.points == "95.8,24.0 100.0,0.0"


def test_many_points_are_thinned_and_the_newest_stays() -> None:
    line = sparkline(day(*range(2000), spacing=40.0), now=NOW, top=None)

    assert line is not None
    assert len(line.points.split()) <= 96
    assert line.points.endswith(" 100.0,0.0")
