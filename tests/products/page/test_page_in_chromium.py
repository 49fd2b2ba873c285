"""The status page as people see it: in Chromium, at three widths, light and dark, by keyboard, and checked by axe-core.

`scripts/test-page` runs it; the screenshots stay in var/page.
"""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.http_client import running
from tests.fakes.night import HOSTILE, night
from tests.fakes.present import known_snapshot
from tests.products.page.browser import Tab, browser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hsm_agent.serve.snapshot import Snapshot

AXE = Path("var/peers/axe/axe.min.js")
SHOTS = Path("var/page")
SIZES = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1440, 900)}
PRESENTS: dict[str, Snapshot] = {"night": night(), "few": known_snapshot(), "many": night(tokens=3000)}


class Served:
    """The agent's own HTTP server, answering on a loop of its own in a thread."""

    def __init__(self, present: Snapshot) -> None:
        self._present = present
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over: asyncio.Event
        self.url = ""
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        async with running(present=self._present) as server:
            host, port = server.address
            self.url = f"http://{host}:{port}/"
            self._ready.set()
            await self._over.wait()

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(10)
        return self.url

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module", params=PRESENTS)
def page(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    with Served(PRESENTS[request.param]) as url:
        yield request.param, f"{url}?refresh=off"


@pytest.fixture(scope="module")
def night_url() -> Iterator[str]:
    with Served(PRESENTS["night"]) as url:
        yield url


def complaints(tab: Tab) -> list[Any]:
    """What the browser wrote on its console: errors, and what the page's policy kept out."""
    entries = [event["params"] for event in tab.events if event.get("method") in {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Page.javascriptDialogOpening"}]  # fmt: skip
    return [each for each in entries if "favicon" not in json.dumps(each)]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_and_axe_finds_nothing(tab: Tab, page: tuple[str, str], size: str, dark: bool) -> None:
    name, url = page
    width, height = SIZES[size]
    tab.show(width, height, dark=dark)
    tab.go(url)
    tab.run(AXE.read_text(encoding="utf-8"))
    found = tab.run("axe.run(document, {resultTypes: ['violations', 'incomplete']})")

    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]] == []
    unsure = [(each["id"], len(each["nodes"])) for each in found["incomplete"]]
    assert unsure == [], "axe-core could not decide"
    assert len(found["passes"]) > 15
    assert tab.run("document.documentElement.scrollWidth") == width, "nothing to be scrolled sideways"
    assert complaints(tab) == []
    tall = min(tab.run("document.documentElement.scrollHeight"), 6000)
    (SHOTS / f"{name}-{size}-{'dark' if dark else 'light'}-top.png").write_bytes(tab.picture(whole=False))
    tab.show(width, tall, dark=dark)
    (SHOTS / f"{name}-{size}-{'dark' if dark else 'light'}.png").write_bytes(tab.picture(whole=False))


def test_the_worst_is_on_the_first_screen_of_a_phone(tab: Tab, night_url: str) -> None:
    tab.show(390, 844)
    tab.go(f"{night_url}?refresh=off")

    places = tab.run(
        "[...document.querySelectorAll('h1, .alarm .first')].slice(0, 2).map(e => e.getBoundingClientRect().bottom)"
    )

    assert max(places) < 844


def test_hostile_labels_are_shown_as_text_and_run_nothing(tab: Tab, night_url: str) -> None:
    tab.show(1440, 900)
    tab.go(f"{night_url}?refresh=off")
    names = tab.run("[...document.querySelectorAll('.card h3 bdi')].map(e => e.textContent)")

    assert {HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[4], HOSTILE[5], HOSTILE[6], HOSTILE[7]} <= {*names}
    assert (
        tab.run("document.querySelectorAll('script, img, iframe, object, link, form, [onerror], [style]').length") == 0
    )
    assert tab.run("[...document.links].map(a => a.protocol).filter(p => !['http:', 'https:'].includes(p)).length") == 0
    assert complaints(tab) == []


def test_a_script_could_not_run_if_it_were_there(tab: Tab, night_url: str) -> None:
    """The page's policy, not our escaping: a script and a style attribute that something else put in."""
    tab.go(f"{night_url}?refresh=off")
    tab.run(
        "document.body.insertAdjacentHTML('beforeend', '<p id=p style=\"color:red\">x</p>');"
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    blocked = [event for event in tab.events if "Content Security Policy" in json.dumps(event)]

    assert tab.run("window.ran === undefined")
    assert tab.run("getComputedStyle(document.getElementById('p')).color") != "rgb(255, 0, 0)"
    assert blocked


def test_the_keyboard_reaches_every_link_in_order_and_shows_where_it_is(tab: Tab, night_url: str) -> None:
    tab.show(1440, 900)
    tab.go(f"{night_url}?refresh=off")
    wanted = tab.run("[...document.links].map(a => a.textContent)")
    reached, outlines = [], []
    for _ in wanted:
        tab.press_tab()
        reached.append(tab.run("document.activeElement.textContent"))
        outlines.append(tab.run("getComputedStyle(document.activeElement).outlineStyle"))

    assert reached == wanted
    assert {*outlines} == {"solid"}


def test_it_comes_again_by_itself(tab: Tab, night_url: str) -> None:
    tab.go(night_url)
    answer = next(event["params"]["response"] for event in tab.events if event.get("method") == "Network.responseReceived")  # fmt: skip

    assert {name.lower(): value for name, value in answer["headers"].items()}["refresh"] == "30"


def test_the_outline_of_the_page_is_headings_and_lists(tab: Tab, night_url: str) -> None:
    """What a screen reader is given: one first heading, then sections with names."""
    tab.go(f"{night_url}?refresh=off")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node.get("ignored")]
    regions = [node["name"]["value"] for node in nodes if node["role"]["value"] == "region"]

    assert roles.count("main") == 1
    assert [each.split()[0] for each in regions] == ["Alarms", "Tokens", "Sources", "Who", "Silences"]
    assert tab.run("document.querySelectorAll('h1').length") == 1
