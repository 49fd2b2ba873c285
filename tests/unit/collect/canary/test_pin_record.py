from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.canary.signer import PinRecordError, PinRecordFile, PinRecordStatus

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY = ("/lib/module.so", "payments", "label=canary")
PIN = "correct horse"


def notes(folder: Path, pin: str = PIN, identity: tuple[str, ...] = IDENTITY, source: str = "a/b") -> PinRecordFile:
    return PinRecordFile(folder, source, identity, pin)


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the note of a refused PIN, made once: each digest takes its time on purpose."""
    folder = tmp_path_factory.mktemp("refused")
    notes(folder).keep(PinRecordStatus.REFUSED)
    return folder


def test_what_is_kept_is_known_after_a_restart(tmp_path: Path) -> None:
    assert notes(tmp_path).look().status is PinRecordStatus.NEW
    notes(tmp_path).keep(PinRecordStatus.REFUSED, "CKR_PIN_INCORRECT")
    found = notes(tmp_path).look()

    assert (found.status, found.why) == (PinRecordStatus.REFUSED, "CKR_PIN_INCORRECT")
    assert abs(found.at - time.time()) < 60


@pytest.mark.parametrize(
    ("pin", "identity"),
    [
        ("another", IDENTITY),
        (PIN, ("/lib/other.so", *IDENTITY[1:])),
        (PIN, (IDENTITY[0], "other", IDENTITY[2])),
        (PIN, (*IDENTITY[:2], "id=0a")),
        ("y" + PIN, (*IDENTITY[:2], IDENTITY[2][:-1])),
        pytest.param(PIN[1:], (*IDENTITY[:2], IDENTITY[2] + PIN[0]), id="the same text, cut elsewhere"),
    ],
)
def test_anything_else_is_another_pin(refused: Path, pin: str, identity: tuple[str, ...]) -> None:
    assert notes(refused, pin, identity).look().status is PinRecordStatus.NEW


def test_the_note_is_private_salted_and_without_the_pin(tmp_path: Path) -> None:
    contents, file = [], tmp_path / "canary-a%2Fb.json"
    for _ in range(2):
        notes(tmp_path).keep(PinRecordStatus.TRYING)
        assert [*tmp_path.iterdir()] == [file]
        contents.append(json.loads(file.read_text()))

    assert file.stat().st_mode & 0o777 == 0o600
    assert contents[0]["digest"] != contents[1]["digest"]
    assert PIN not in str(contents)


def test_a_note_that_is_forgotten_lets_the_pin_be_new(tmp_path: Path) -> None:
    notes(tmp_path).keep(PinRecordStatus.REFUSED)
    notes(tmp_path).forget()
    notes(tmp_path).forget()

    assert notes(tmp_path).look().status is PinRecordStatus.NEW


@pytest.mark.parametrize("content", ["", "{}", '{"salt": "zz"}', "[]", '{"salt": "00", "digest": 5}'])
def test_a_note_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "canary-a%2Fb.json").write_text(content)
    if "digest" in content:
        assert notes(tmp_path).look().status is PinRecordStatus.NEW  # whole, and about something else
        return
    with pytest.raises(PinRecordError, match="whether the PIN was refused before is not known"):
        notes(tmp_path).look()


def test_a_folder_that_is_not_there_cannot_hold_a_note(tmp_path: Path) -> None:
    with pytest.raises(PinRecordError, match=r"cannot be written: No such file or directory: check the disk"):
        notes(tmp_path / "x").keep(PinRecordStatus.TRYING)
