"""The key of the pseudonyms on disk."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from hsm_agent.state.files import DamagedFileError
from hsm_agent.state.hide_key import FILE_NAME, load

if TYPE_CHECKING:
    from pathlib import Path


def test_the_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = load(tmp_path), load(tmp_path)

    assert first == second
    assert len(first) == 32
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_each_agent_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()

    assert load(tmp_path) != load(tmp_path / "other")


@pytest.mark.parametrize("content", [b"", b"xyz\n", b"00" * 31, b"\xff" * 64, b"00" * 33])
def test_a_damaged_key_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    with pytest.raises(DamagedFileError, match=r"hide\.key: not 32 bytes in hexadecimal"):
        load(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == content
