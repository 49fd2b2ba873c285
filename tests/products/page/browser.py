"""Headless Chromium by its debugging protocol over a pair of pipes: no library, no port.

JSON messages that end in NUL, commands on descriptor 3 and answers on 4 (`--remote-debugging-pipe`).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

UNPACKED = Path("var/peers/chromium")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--force-color-profile=srgb", "--lang=en",
    "--remote-debugging-pipe",
)  # fmt: skip


def chromium() -> list[str]:
    """The program: the system's, else the one that `scripts/test-page` has unpacked."""
    found = shutil.which("chromium")
    return [found] if found else [str(UNPACKED.absolute() / "usr/lib/chromium/chromium")]


def environment() -> dict[str, str]:
    """Where an unpacked one finds its libraries and fonts."""
    libraries = [str(path) for path in UNPACKED.absolute().glob("usr/lib/*-linux-gnu") if path.is_dir()]
    libraries += [str(path) for path in UNPACKED.absolute().glob("usr/lib/*-linux-gnu/pulseaudio")]
    fonts = UNPACKED.absolute() / "fonts.conf"
    if not shutil.which("chromium"):
        folders = f"<dir>{UNPACKED.absolute()}/usr/share/fonts</dir><dir>/usr/share/fonts</dir>"
        usual = "".join(
            f"<alias><family>{name}</family><prefer><family>Noto Sans</family></prefer></alias>"
            for name in ("sans-serif", "system-ui", "serif", "Times New Roman")
        )
        cache = f"<cachedir>{UNPACKED.absolute()}/fontcache</cachedir>"
        fonts.write_text(f"<fontconfig>{folders}{cache}{usual}</fontconfig>")
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "FONTCONFIG_FILE": str(fonts)}
    return dict(os.environ)


class Tab:
    """One page of the browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._received = bytearray()
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        """What the browser told by itself: console messages, exceptions, blocked requests."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            octets = os.read(self._answers, 1 << 20)
            if not octets:
                raise AssertionError("the browser has ended")
            self._received += octets
        message, _, rest = self._received.partition(b"\0")
        self._received = bytearray(rest)
        return dict(json.loads(message))

    def show(self, width: int, height: int, *, dark: bool = False) -> None:
        """As wide as that, light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url: str) -> None:
        """Load a page and wait until it is there."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript, run from outside of the page's own policy."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(str(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def press_tab(self) -> None:
        """The tabulator key, down and up."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)

    def picture(self, *, whole: bool = True) -> bytes:
        """A screenshot as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A browser with one tab; it is gone at the end of the block."""
    (commands_out, commands), (answers, answers_in) = os.pipe(), os.pipe()
    # Beyond 3 and 4, so that neither is overwritten by the other.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (commands_out, answers_in)]
    log = (profile / "browser.log").open("wb")
    process = subprocess.Popen(
        [
            "bash",
            "-c",
            f'exec "$@" 3<&{high[0]} 4>&{high[1]}',
            "bash",
            *chromium(),
            *ARGUMENTS,
            f"--user-data-dir={profile}",
        ],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=high,
    )
    for descriptor in (commands_out, answers_in, *high):
        os.close(descriptor)
    try:
        yield Tab(commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
        process.terminate()
        process.wait(timeout=20)
        log.close()
