from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.workers.pkcs11.cryptoki import Module
from hsm_agent.workers.pkcs11.steps import STEPS, directory_bytes, store_bytes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("step", [step for step in STEPS if step != "token"])
def test_a_step_whose_function_is_missing_ends_without_a_payload(step: str) -> None:
    assert STEPS[step](Module("libc.so.6", lambda *_: None), 1) is None


def test_sums_all_files_below_a_directory_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    (tmp_path / "token" / "a.object").write_bytes(b"x" * 300)
    (tmp_path / "b").write_bytes(b"x" * 20)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)

    assert directory_bytes(str(tmp_path)) == 320 + (tmp_path / "loop").lstat().st_size


def test_a_missing_directory_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        directory_bytes("/nonexistent")


def test_a_store_is_told_by_its_folders_as_well(tmp_path: Path) -> None:
    for name, size in (("one", 300), ("two", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.object").write_bytes(b"x" * size)
    (tmp_path / "b").write_bytes(b"x" * 20)

    assert store_bytes(str(tmp_path)) == {"bytes": 327, "parts": {"one": 300, "two": 7}}
