"""zsh and fish complete behind `hsm-agent`, and formatters of manual pages have nothing to say. Debian's programs."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.peers.require import PEERS, ROOT, environment_for, require

if TYPE_CHECKING:
    from pathlib import Path

COMPLETIONS = ROOT / "share" / "completions"
PAGES = sorted((ROOT / "share" / "man").rglob("*.[15]"))
FISH = [
    pytest.param("sp", {"spool"}, id="a verb"),
    pytest.param("silence ", {"end", "list"}, id="verbs below a verb"),
    pytest.param("silence --reason list e", {"end"}, id="a value is not taken for a verb"),
    pytest.param("poll --format ", {"table", "json"}, id="choices"),
    pytest.param("check --me", {"--metric"}, id="options of the plugin"),
    pytest.param("audit verify /etc/hostn", {"/etc/hostname"}, id="files"),
    pytest.param("status ", set(), id="nothing where nothing is taken"),
]
ZSH = [
    pytest.param("stat\t", "hsm-agent status ", id="a verb"),
    pytest.param("silence e\t", "hsm-agent silence end ", id="a verb below a verb"),
    pytest.param("poll --format j\t", "hsm-agent poll --format json ", id="a choice"),
    pytest.param("check --me\t", "hsm-agent check --metric ", id="an option of the plugin"),
    pytest.param("poll -c /etc/hostna\t", "hsm-agent poll -c /etc/hostname ", id="a file"),
]


@pytest.mark.parametrize(("words", "expected"), FISH)
def test_fish_completes(words: str, expected: set[str], tmp_path: Path) -> None:
    fish = require("fish")
    program = f'source {COMPLETIONS}/hsm-agent.fish; complete --do-complete "hsm-agent {words}"'
    environment = {**os.environ, **environment_for(fish), "HOME": str(tmp_path)}
    run = subprocess.run(
        [fish, "--no-config", "-c", program], env=environment, capture_output=True, text=True, timeout=20, check=True,
        cwd=tmp_path,
    )  # fmt: skip
    found = {line.partition("\t")[0] for line in run.stdout.splitlines()}

    assert run.stderr == ""
    assert found == expected


@pytest.mark.parametrize(("keys", "expected"), ZSH)
def test_zsh_completes(keys: str, expected: str, tmp_path: Path) -> None:
    zsh = require("zsh")
    root = next((folder for folder in PEERS.iterdir() if zsh.is_relative_to(folder)), None)
    modules = f"module_path=({root}/usr/lib/*-linux-gnu/zsh/5*)\n" if root else ""
    functions = f"fpath=({COMPLETIONS} {root or ''}/usr/share/zsh/functions/**/*(/N))\n"
    (tmp_path / ".zshrc").write_text(f"{modules}{functions}autoload -Uz compinit; compinit -u -D; PS1='> '\n")
    environment = {
        **environment_for(zsh),
        "HOME": str(tmp_path),
        "ZDOTDIR": str(tmp_path),
        "TERM": "dumb",
        "PATH": os.environ["PATH"],
    }
    shown = _typed([str(zsh), "-i"], environment, f"hsm-agent {keys}", expected)

    assert expected in shown


def _typed(command: list[str], environment: dict[str, str], keys: str, expected: str) -> str:
    """What a terminal shows once the keys were typed behind the prompt, or what it showed after 15 seconds."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, environment)
    try:
        _until(terminal, "> ")
        os.write(terminal, keys.encode())
        return _until(terminal, expected)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def _until(terminal: int, text: str) -> str:
    shown, end = "", time.monotonic() + 15
    while text not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace").replace("\r", "").replace("\x07", "")
    return shown


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
@pytest.mark.parametrize(
    "words", [["mandoc", "-T", "lint", "-W", "warning"], ["groff", "-ww", "-man", "-Tutf8", "-z"], ["man", "--warnings", "-l"]]
)  # fmt: skip
def test_a_formatter_of_manual_pages_has_nothing_to_say(page: Path, words: list[str]) -> None:
    program = require(words[0])
    environment = {**os.environ, **environment_for(program), "MANWIDTH": "80", "MANPAGER": "cat"}
    run = subprocess.run(
        [program, *words[1:], page], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert run.stderr == ""
    assert "WARNING" not in run.stdout
    assert "ERROR" not in run.stdout
