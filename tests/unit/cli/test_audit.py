"""`hsm-agent audit`: verdicts, exit statuses, checkpoints, and what is shown of entries."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hsm_agent.cli.main import cli
from tests.peers.trails import CratonWriter, DocumentedWriter, cloudhsm_event

REAL = Path(__file__).parents[2] / "data/craton"


def _run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["audit", *map(str, words)], prog_name="hsm-agent")


def _verdicts(*words: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_run("verify", "--format", "json", *words).stdout)
    return found


def _write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize("order", [("rot.jsonl.1", "rot.jsonl"), ("rot.jsonl", "rot.jsonl.1")])
def test_a_rotated_set_is_intact_in_any_order(order: tuple[str, ...]) -> None:
    result = _run("verify", *(REAL / name for name in order))

    assert result.exit_code == 0
    assert f"rot.jsonl: intact: follows {REAL / 'rot.jsonl.1'}, 2 entries" in result.output


def test_a_file_alone_has_an_unknown_anchor() -> None:
    result = _run("verify", REAL / "rot.jsonl")

    assert result.exit_code == 3
    assert "rot.jsonl: anchor unknown" in result.output


@pytest.mark.parametrize(
    ("files", "status"),
    [
        (["good"], 0),
        (["good", "empty"], 0),
        (["good", "broken"], 1),
        (["missing", "broken"], 1),
        (["good", "missing"], 3),
        (["good", "folder"], 3),
        (["good", "strange"], 3),
        (["keyed"], 3),
        (["good", "torn.gz"], 3),
    ],
)
def test_the_exit_status_is_that_of_a_gate(tmp_path: Path, files: list[str], status: int) -> None:
    lines = list(CratonWriter().lines(4))
    _write(tmp_path / "good", *lines)
    _write(tmp_path / "broken", *lines[1:3], lines[0])
    _write(tmp_path / "empty")
    _write(tmp_path / "strange", b"#!/bin/sh\n")
    _write(tmp_path / "keyed", *(line.replace(b'version":0', b'version":1') for line in lines))
    _write(tmp_path / "torn.gz", gzip.compress(b"".join(lines))[:-20])
    (tmp_path / "folder").mkdir()

    result = _run("verify", *(tmp_path / name for name in files))

    assert result.exit_code == status
    assert len(result.output.splitlines()) == len(files)


def test_a_break_names_its_line_and_both_hashes(tmp_path: Path) -> None:
    lines = list(CratonWriter().lines(6))
    (found,) = _verdicts(_write(tmp_path / "a", *lines[:3], *lines[4:]))

    assert found["verdict"] == "broken"
    assert found["broken"]["line"] == 4
    assert len(found["broken"]["expected"]) == len(found["broken"]["found"]) == 64


def test_the_last_line_of_a_rotated_file_cannot_be_changed_unseen(tmp_path: Path) -> None:
    writer = CratonWriter()
    old, new = list(writer.lines(5)), list(writer.lines(5))
    old[4] = old[4].replace(b'"Sign"', b'"Wrap"')
    _write(tmp_path / "a.jsonl.1", *old)
    _write(tmp_path / "a.jsonl", *new)

    assert [each["verdict"] for each in _verdicts(tmp_path / "a.jsonl", tmp_path / "a.jsonl.1")] == ["broken", "intact"]


def test_compressed_and_documented_files_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"".join(DocumentedWriter().lines(4))))
    _write(tmp_path / "b.log", *(cloudhsm_event(number) for number in range(3)))
    _write(tmp_path / "c.log", cloudhsm_event(0), cloudhsm_event(2))
    _write(tmp_path / "d.log", cloudhsm_event(7))

    found = _verdicts(*(tmp_path / name for name in ("a.gz", "b.log", "c.log", "d.log")))

    assert [(each["format"], each["verdict"]) for each in found] == [
        ("craton-documented", "intact"),
        ("cloudhsm", "intact"),
        ("cloudhsm", "broken"),
        ("cloudhsm", "anchor unknown"),
    ]


def test_a_format_can_be_forced(tmp_path: Path) -> None:
    (found,) = _verdicts("--as", "craton", _write(tmp_path / "a", *DocumentedWriter().lines(3)))

    assert (found["entries"], found["bad_lines"]) == (0, 3)


def test_a_checkpoint_verifies_what_is_new_and_goes_on_across_a_rotation(tmp_path: Path) -> None:
    writer, log, mark = CratonWriter(), tmp_path / "a.jsonl", tmp_path / "mark"
    _write(log, *writer.lines(5))
    assert _run("verify", "--checkpoint", mark, log).exit_code == 0
    with log.open("ab") as file:
        file.writelines(writer.lines(5))
    log.rename(tmp_path / "a.jsonl.1")
    _write(log, *writer.lines(2))

    assert _run("verify", "--checkpoint", mark, log, tmp_path / "a.jsonl.1").exit_code == 0
    (found,) = _verdicts("--checkpoint", mark, log)
    assert (found["verdict"], found["reason"], found["entries"]) == ("intact", "follows the checkpoint", 2)


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda lines: lines[:4], id="the tail is cut"),
        pytest.param(
            lambda lines: [*lines[:5], lines[5].replace(b'"session_handle":1', b'"session_handle":2')],
            id="the last line is edited",
        ),
        pytest.param(lambda _: list(CratonWriter().lines(9))[1:], id="it begins elsewhere"),
        pytest.param(lambda _: [CratonWriter().line("Zeroize"), *CratonWriter().lines(9)][:1], id="it begins anew"),
        pytest.param(lambda _: [], id="it is emptied"),
    ],
)
def test_a_checkpoint_shows_what_no_link_does(tmp_path: Path, forge: Any) -> None:
    log, mark = tmp_path / "a.jsonl", tmp_path / "mark"
    lines = list(CratonWriter().lines(6))
    _write(log, *lines)
    assert _run("verify", "--checkpoint", mark, log).exit_code == 0
    _write(log, *forge(lines))

    assert _run("verify", "--checkpoint", mark, log).exit_code in {1, 3}


def test_wrong_usage_is_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _write(tmp_path / name, *CratonWriter().lines(1))
    assert _run("verify").exit_code == 2
    assert _run("verify", "--as", "other", tmp_path / "a").exit_code == 2
    assert _run("verify", "--checkpoint", tmp_path / "m", tmp_path / "a", tmp_path / "b").exit_code == 2
    (tmp_path / "m").write_text("{}")
    assert _run("verify", "--checkpoint", tmp_path / "m", tmp_path / "a").exit_code == 3


def test_entries_are_shown_and_chosen(tmp_path: Path) -> None:
    log = REAL / "audit_real.jsonl"
    everything = json.loads(_run("dump", "--format", "json", log).stdout)
    assert len(everything) == 34
    failed = json.loads(_run("dump", "--format", "json", "--result", "failure", "--operation", "Log*", log).stdout)
    assert {each["result"] for each in failed} == {"CKR_PIN_INCORRECT", "CKR_PIN_LOCKED"}
    assert (
        json.loads(_run("dump", "--format", "json", "--result", "pin_locked", "--last", 1, log).stdout) == failed[-1:]
    )
    assert json.loads(_run("dump", "--format", "json", "--session", "99", log).stdout) == []
    table = _run("dump", "--last", 2, log)
    assert [line.split()[1] for line in table.stdout.splitlines()] == ["operation", "CloseSession", "Finalize"]
    assert _run("dump", log, tmp_path / "missing").exit_code == 3
    sets = json.loads(_run("dump", "--format", "json", REAL / "rot.jsonl", REAL / "rot.jsonl.1").stdout)
    assert [each["time"] for each in sets] == sorted(each["time"] for each in sets)


def test_an_entry_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    writer = CratonWriter()
    log = _write(tmp_path / "a", writer.line("Sign\x1b]0;x\x07\u202e"), b"\x1b[2Jbad\n", writer.line())

    for result in (_run("dump", log), _run("verify", log)):
        assert "\x1b" not in result.output
        assert "\u202e" not in result.output


def _set(tmp_path: Path, name: str = "audit.jsonl") -> list[Path]:
    writer = CratonWriter()
    return [_write(tmp_path / f"{name}{end}", *writer.lines(6)) for end in (".2", ".1", "")]


def test_a_file_that_was_not_given_is_not_taken_for_a_break(tmp_path: Path) -> None:
    oldest, _, newest = _set(tmp_path)

    assert _run("verify", newest, oldest).exit_code == 3


def test_a_file_and_its_archive_are_one(tmp_path: Path) -> None:
    oldest, middle, newest = _set(tmp_path)
    packed = middle.with_name("audit.jsonl.1.gz")
    packed.write_bytes(gzip.compress(middle.read_bytes()))

    assert _run("verify", newest, packed, middle, oldest).exit_code == 0


def test_numbers_may_begin_at_0(tmp_path: Path) -> None:
    writer = CratonWriter()
    files = [_write(tmp_path / f"audit.jsonl{end}", *writer.lines(3)) for end in (".1", ".0", "")]
    cut = files[1].read_bytes().splitlines(keepends=True)[:-1]

    assert _run("verify", *files).exit_code == 0
    _write(files[1], *cut)
    assert _run("verify", *files).exit_code == 1


def test_a_file_without_an_entry_is_not_intact(tmp_path: Path) -> None:
    path = _write(tmp_path / "passwd", b"root:x:0:0:root:/root:/bin/sh\n")

    assert _run("verify", "--as", "craton", path).exit_code == 3


def test_a_documented_set_is_linked_where_a_file_has_one_line_only(tmp_path: Path) -> None:
    writer = DocumentedWriter(spaced=True)
    files = [_write(tmp_path / f"audit.jsonl{end}", *writer.lines(number)) for end, number in ((".1", 1), ("", 3))]

    assert _run("verify", *files).exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [],
        lambda lines: lines[:4],
        lambda lines: list(CratonWriter(b"\x09" * 32).lines(4)),
        lambda lines: list(CratonWriter().lines(4))[:1] + [line.replace(b"e", b"x", 1) for line in lines[1:]],
        lambda lines: [CratonWriter().line("Logout")],
    ],
    ids=["emptied", "cut", "replaced by another", "edited", "begun anew"],
)
def test_a_gate_that_was_closed_stays_closed(tmp_path: Path, change: Any) -> None:
    lines = list(CratonWriter().lines(10))
    path, checkpoint = _write(tmp_path / "audit.jsonl", *lines), tmp_path / "verified"
    words = ("verify", "--as", "craton", "--checkpoint", checkpoint, path)
    assert _run(*words).exit_code == 0
    kept = checkpoint.read_bytes()
    _write(path, *change(lines))

    statuses = [_run(*words).exit_code for _ in range(3)]
    assert statuses[0] in {1, 3}
    assert len(set(statuses)) == 1
    assert checkpoint.read_bytes() == kept
    _write(path, *lines)
    assert _run(*words).exit_code == 0


@pytest.mark.parametrize("text", [b"", b'{"fo', b"[]", b'{"format":"craton","offset":-5}'])
def test_a_damaged_checkpoint_verifies_nothing(tmp_path: Path, text: bytes) -> None:
    path = _write(tmp_path / "audit.jsonl", *CratonWriter().lines(2))

    assert _run("verify", "--checkpoint", _write(tmp_path / "verified", text), path).exit_code == 3


def test_no_trail_controls_a_terminal(tmp_path: Path) -> None:
    payload = '{"format_version":0,"timestamp":1,"session_handle":1,"operation":"A\\ud800\u009b31m","result":"Success"}'
    path = _write(tmp_path / "audit\x1b[31m.jsonl", CratonWriter().link(payload.encode()))

    for words in (("dump",), ("dump", "--format", "json"), ("verify",), ("verify", "--format", "json")):
        result = _run(*words, path)
        assert result.exit_code == 0
        assert result.output.replace("\n", "").isprintable()
    assert "\x1b" not in _run("dump", tmp_path / "missing\x1b[31m").output
    assert _run("verify", ".").exit_code == 3


def test_on_a_terminal_a_bar_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = _write(tmp_path / "a.jsonl", *CratonWriter().lines(2000))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(SystemExit) as ended:
        cli(["audit", "verify", str(log), str(tmp_path / "missing")], prog_name="hsm-agent")

    assert ended.value.code == 3
    shown = capsys.readouterr()
    assert "/s" in shown.err
    assert "2000 entries" in shown.out


def test_a_checkpoint_that_cannot_be_used_is_no_break(tmp_path: Path) -> None:
    log, folder = _write(tmp_path / "a.jsonl", *CratonWriter().lines(3)), tmp_path / "folder"
    folder.mkdir()

    assert _run("verify", "--checkpoint", tmp_path / "nowhere" / "mark", log).exit_code == 3
    assert _run("verify", "--checkpoint", folder / "mark", log).exit_code == 0
    assert _run("verify", "--as", "cloudhsm", "--checkpoint", folder / "mark", log).exit_code == 2


def test_a_file_of_no_known_format_has_no_entries_to_show(tmp_path: Path) -> None:
    result = _run("dump", _write(tmp_path / "a", b"words\n"), _write(tmp_path / "empty"))

    assert result.exit_code == 3
