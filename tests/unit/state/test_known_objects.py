"""What a restart remembers of tokens and audit stores: whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.model import KnownObject
from hsm_agent.state.files import DamagedFileError
from hsm_agent.state.known_objects import FILE_NAME, keep, load

if TYPE_CHECKING:
    from pathlib import Path

OBJECTS = (
    KnownObject(source="luna-a", resource="付款", identity=(("label", "付款"), ("serial", "7")), is_audited=True),
    KnownObject(source="luna-a", resource="never read", identity=()),
    KnownObject(source="trail", resource="audit.jsonl", is_audited=True),
)


def test_what_was_kept_is_loaded(tmp_path: Path) -> None:
    keep(tmp_path, OBJECTS)

    assert load(tmp_path) == OBJECTS
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_nothing_was_known_where_there_is_no_file(tmp_path: Path) -> None:
    assert load(tmp_path) == ()


@pytest.mark.parametrize(
    "content", ["[[[", "{}", '["x"]', '[{"source": "a"}]', '[{"source": "a", "resource": "b", "identity": [["x"]]}]']
)
def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content, encoding="utf-8")

    with pytest.raises(DamagedFileError):
        load(tmp_path)

    assert load(tmp_path) == ()
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["known"]


def test_what_a_newer_version_adds_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('[{"source": "a", "resource": "b", "colour": "red"}]', encoding="utf-8")

    assert load(tmp_path) == (KnownObject(source="a", resource="b"),)
