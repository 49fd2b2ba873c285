"""What bash completes behind `hsm-agent`, asked the way bash asks."""

from __future__ import annotations

import subprocess

import pytest

from tests.peers.require import ROOT, require

SCRIPT = ROOT / "share" / "completions" / "hsm-agent"
CASES = [
    pytest.param(["sp"], {"spool"}, id="verbs"),
    pytest.param(["silence", ""], {"end", "list"}, id="verbs below a verb"),
    pytest.param(["silence", "--reason", "list", "e"], {"end"}, id="a value is not taken for a verb"),
    pytest.param(["poll", "--format", ""], {"table", "json"}, id="choices"),
    pytest.param(["poll", "--format", "=", "j"], {"json"}, id="choices behind an equals sign"),
    pytest.param(["check", "--me"], {"--metric"}, id="options of the plugin"),
    pytest.param(["silence", "--so"], {"--source"}, id="options"),
    pytest.param(["status", "--config", "/etc/hostn"], {"/etc/hostname"}, id="files"),
    pytest.param(["status", ""], set(), id="nothing where nothing is taken"),
    pytest.param(["silence", "--reason", "so"], set(), id="nothing where the word is free"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash_completes(words: list[str], expected: set[str]) -> None:
    # compopt works only while a key is pressed: a function of its name stands in for it here.
    program = """
        source "$1"; shift
        compopt() { :; }
        COMP_WORDS=(hsm-agent "$@"); COMP_CWORD=$#
        _hsm_agent
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    command = [str(require("bash")), "--norc", "-c", program, "bash", str(SCRIPT), *words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)

    assert run.stderr == ""
    assert set(run.stdout.split()) == expected


def test_bash_is_told_who_completes() -> None:
    command = [str(require("bash")), "--norc", "-c", 'source "$1"; complete -p hsm-agent', "bash", str(SCRIPT)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)

    assert run.stdout == "complete -F _hsm_agent hsm-agent\n"
