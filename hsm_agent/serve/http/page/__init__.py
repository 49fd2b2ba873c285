"""The status page at `/`: one document without scripts, made by a template that escapes whatever is put into it.

Loaded when it is first asked for, on the thread that makes answers: jinja2 and the compiled template take 4 MB and
30 ms. There is nothing in it to be pressed: links and a browser's own refresh alone. Bounded: what there are
thousands of comes page by page, worst first.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import jinja2

from hsm_agent.evaluate.messages import amount
from hsm_agent.serve.days import histories, histories_of
from hsm_agent.serve.http.connection import HttpResponse
from hsm_agent.serve.http.page.sparkline import Sparkline, sparkline
from hsm_agent.serve.overview import overview
from hsm_agent.serve.status import summary
from hsm_agent.text import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.evaluate.trends import Points
    from hsm_agent.serve.overview import Fill, Overview, TokenEntry
    from hsm_agent.serve.snapshot import Snapshot

REFRESH_SECONDS = 30
MOST_TOKENS = 60
MOST_LINES = 40
"""Of alarms, sources, sinks and silences each; the rest is counted."""
_FULL = 100.0
_LONGEST_QUERY, _MOST_FIELDS, _MOST_DIGITS = 200, 8, 6
_STILL = {"refresh": "off"}


class PageQuery(NamedTuple):
    """What stands behind the `?`: which page of the tokens, and whether the browser is to ask again by itself."""

    page: int = 1
    is_still: bool = False

    @classmethod
    def of(cls, text: str) -> PageQuery:
        """Of a query as it came; what is not understood counts as not given."""
        try:
            given = parse_qs(text[:_LONGEST_QUERY], max_num_fields=_MOST_FIELDS)
        except ValueError:
            return cls()
        page = given.get("page", ["1"])[0]
        number = int(page) if page.isascii() and page.isdigit() and len(page) <= _MOST_DIGITS else 1
        return cls(max(1, number), given.get("refresh", [""])[0] == _STILL["refresh"])

    def link(self, *, page: int | None = None, is_still: bool | None = None) -> str:
        """A link to the same page with something changed."""
        number = self.page if page is None else page
        still = self.is_still if is_still is None else is_still
        query = ({"page": number} if number > 1 else {}) | (_STILL if still else {})
        return f"?{urlencode(query)}" if query else "./"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar with its day."""

    fill: Fill
    day: Sparkline | None
    day_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A token with its bars; those of which nothing is known are left out."""

    token: TokenEntry
    bars: tuple[Bar, ...]


def page(present: Snapshot, query: str, waiting: Sequence[str]) -> HttpResponse:
    """The answer to `/`. To be called on a thread."""
    asked = PageQuery.of(query)
    view = overview(summary(present), waiting)
    pages = max(1, -(-len(view.tokens) // MOST_TOKENS))
    asked = asked._replace(page=min(asked.page, pages))
    shown = view.tokens[(asked.page - 1) * MOST_TOKENS : asked.page * MOST_TOKENS]
    known = histories(present)
    text = _template().render(
        view=view,
        cards=[_card(token, known, present.now) for token in shown],
        query=asked,
        pages=pages,
        first=(asked.page - 1) * MOST_TOKENS + 1,
        most=MOST_LINES,
        refresh_seconds=REFRESH_SECONDS,
        style=_style(),
        title=_title(view),
    )
    headers = _HEADERS | {"Content-Security-Policy": _policy()}
    if not asked.is_still:
        headers["Refresh"] = str(REFRESH_SECONDS)
    return HttpResponse(
        status=HTTPStatus.OK, body=text.encode(), content_type="text/html; charset=utf-8", headers=headers
    )


_HEADERS = {"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin"}


def _policy() -> str:
    """Nothing may be loaded and nothing run; the one style sheet is known by its hash (CSP level 3)."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _title(view: Overview) -> str:
    """What a browser's tab shows: the worst first."""
    state = view.severity if view.severity not in {"cleared", "indeterminate"} else ""
    return f"{state.upper()}: {view.agent}" if state else f"{view.agent}: {view.verdict}"


def _card(token: TokenEntry, known: dict[tuple[str, str, str], Points], now: float) -> Card:
    trends = histories_of(known, token.source, token.resource)
    bars = (_bar(fill, trends.get(fill.name), now) for fill in token.fills)
    return Card(token=token, bars=tuple(bar for bar in bars if bar.fill.percent is not None or bar.fill.text))


def _bar(fill: Fill, points: Points | None, now: float) -> Bar:
    is_share = fill.name != "sessions"
    day = None if points is None else sparkline(points, now=now, top=_FULL if is_share else None)
    if day is None:
        return Bar(fill=fill, day=None, day_text="")
    unit_name = "percent" if is_share else ""
    low, high = amount(day.lowest, unit_name), amount(day.highest, unit_name)
    return Bar(fill=fill, day=day, day_text=f"last day: {low} to {high}" if low != high else f"last day: {low}")


@cache
def _style() -> str:
    return (resources.files(__name__) / "style.css").read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    environment.filters |= {"clock": _clock, "iso": _iso, "words": _words, "is_link": _is_link}
    return environment.from_string((resources.files(__name__) / "status.html").read_text(encoding="utf-8"))


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _words(text: str) -> list[tuple[bool, str]]:
    """The text in pieces, each with whether it stood between backquotes."""
    return [(bool(number % 2), piece) for number, piece in enumerate(text.split("`")) if piece]


def _is_link(text: str) -> bool:
    """Whether a runbook is an address that a browser may be sent to; `javascript:` is none."""
    try:
        found = urlsplit(text)
    except ValueError:
        return False
    return found.scheme in {"http", "https"} and bool(found.netloc) and text == harmless(text)
