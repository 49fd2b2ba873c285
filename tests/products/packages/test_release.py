"""scripts/release in a throw-away clone: it says what it would do, does it whole, or leaves no trace."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.products.packages.bare_debian import ROOT, WORK

if TYPE_CHECKING:
    from pathlib import Path

NEXT = "7.8.9"


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout


def _release(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["scripts/release", *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL
    )


def _state(folder: Path) -> tuple[str, str, str]:
    return _git(folder, "rev-parse", "HEAD"), _git(folder, "tag"), _git(folder, "status", "--porcelain")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    _git(tmp_path, "clone", "-q", str(ROOT), str(folder))
    _git(folder, "checkout", "-q", "-B", "main")
    for key, value in {"user.name": "A Maintainer", "user.email": "maintainer@example.net"}.items():
        _git(folder, "config", key, value)
    (folder / "var").mkdir()
    (folder / "var" / "package").symlink_to(WORK)
    return folder


def test_it_says_what_it_would_do_and_does_nothing(clone: Path) -> None:
    before = _state(clone)
    done = _release(clone, NEXT)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"-> {NEXT}" in done.stdout
    assert "Nothing was done" in done.stdout
    assert _state(clone) == before


def test_it_commits_tags_and_makes_the_artefacts(clone: Path) -> None:
    done = _release(clone, "--do-it", "--checks", "true", "--parts", "wheel", NEXT)

    assert done.returncode == 0, done.stderr
    assert _git(clone, "describe", "--tags", "--exact-match") == f"v{NEXT}\n"
    assert _git(clone, "log", "-1", "--format=%s") == f"Release {NEXT}\n"
    assert _git(clone, "status", "--porcelain") == ""
    assert f'VERSION = "{NEXT}"' in (clone / "hsm_agent/version.py").read_text(encoding="utf-8")
    changelog = (clone / "CHANGELOG.md").read_text(encoding="utf-8")
    assert changelog.index("## Unreleased\n") < changelog.index(f"## {NEXT} - ")
    made = {path.name for path in (clone / "dist" / NEXT).iterdir()}
    assert made == {f"hsm_agent-{NEXT}-py3-none-any.whl", "NOTES.md", "SHA256SUMS"}
    notes = (clone / "dist" / NEXT / "NOTES.md").read_text(encoding="utf-8")
    assert notes.strip() == _git(clone, "tag", "-l", "--format=%(contents)", f"v{NEXT}").strip()
    assert _release(clone, NEXT).returncode == 1
    assert "says nothing under Unreleased" in _release(clone, "7.9.0").stderr


def test_what_fails_leaves_no_trace(clone: Path) -> None:
    before = _state(clone)

    for words in (("--checks", "false"), ("--checks", "true", "--parts", "unknown")):
        done = _release(clone, "--do-it", *words, NEXT)
        assert done.returncode == 1
        assert _state(clone) == before


@pytest.mark.parametrize(
    ("version", "said"),
    [("1.2", "no MAJOR.MINOR.PATCH"), ("0.0.9", "hsm_agent/version.py says"), ("01.0.0", "no MAJOR.MINOR.PATCH")],
)
def test_a_version_that_cannot_follow_is_refused(clone: Path, version: str, said: str) -> None:
    done = _release(clone, "--do-it", version)

    assert (done.returncode, said in done.stderr) == (1, True)


def test_a_tree_with_something_not_committed_is_refused(clone: Path) -> None:
    (clone / "README.md").write_text("changed\n", encoding="utf-8")

    assert "not committed" in _release(clone, "--do-it", NEXT).stderr


def test_another_branch_is_refused(clone: Path) -> None:
    _git(clone, "checkout", "-q", "-b", "work")

    assert "on branch work" in _release(clone, "--do-it", NEXT).stderr
