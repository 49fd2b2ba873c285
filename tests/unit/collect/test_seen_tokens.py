"""The tokens a source of commands has seen, on disk."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.identity import ObjectIdentity, SeenObjectsFile, digest_of

if TYPE_CHECKING:
    from pathlib import Path

TOOL, LUNA = digest_of(["pkcs11-tool", "-L"], "pkcs11-tool-slots"), digest_of(["ssh", "luna"], "lunash-partition-show")
SEEN = {
    0: {"a": ObjectIdentity("a", "1", "slot 1"), "2": ObjectIdentity("a", "2", "slot 2")},
    1: {"web": ObjectIdentity("web", "5")},
}


async def test_what_was_kept_is_loaded_in_its_order(tmp_path: Path) -> None:
    await SeenObjectsFile(tmp_path, "a/b", [TOOL, LUNA]).keep(SEEN)

    assert await SeenObjectsFile(tmp_path, "a/b", [TOOL, LUNA]).load() == SEEN
    assert await SeenObjectsFile(tmp_path, "other", [TOOL, LUNA]).load() == {}
    (file,) = tmp_path.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("command-a%2Fb.json", 0o600)


async def test_a_run_is_known_by_its_command_and_one_that_is_not_configured_any_more_misses_nobody(
    tmp_path: Path,
) -> None:
    await SeenObjectsFile(tmp_path, "a", [TOOL, LUNA]).keep(SEEN)

    assert await SeenObjectsFile(tmp_path, "a", [LUNA]).load() == {0: SEEN[1]}
    assert await SeenObjectsFile(tmp_path, "a", [digest_of(["ssh", "luna-b"], "lunash-partition-show")]).load() == {}
    assert digest_of(["a", "b"], "regex") != digest_of(["a b"], "regex")


async def test_it_is_written_when_it_would_differ(tmp_path: Path) -> None:
    memory = SeenObjectsFile(tmp_path, "a", [TOOL])
    assert await memory.load() == {}
    await memory.keep({})
    assert not [*tmp_path.iterdir()]

    known = {0: dict(SEEN[0])}
    await memory.keep(known)
    (file,) = tmp_path.iterdir()
    file.unlink()
    await memory.keep(known)
    assert not [*tmp_path.iterdir()]
    del known[0]["2"]
    await memory.keep(known)
    assert await SeenObjectsFile(tmp_path, "a", [TOOL]).load() == {0: {"a": SEEN[0]["a"]}}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"runs": []}',
        '{"runs": {"RUN": [1]}}',
        '{"runs": {"RUN": {"a": ["b"]}}}',
        '{"runs": {"RUN": {"a": [1, null, []]}}}',
        "[" * 100_000,
        "\xff",
    ],
)
async def test_a_file_that_is_not_usable_is_said_and_done_without(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "command-a.json").write_text(content.replace("RUN", TOOL), encoding="latin-1")

    assert await SeenObjectsFile(tmp_path, "a", [TOOL]).load() == {}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "command-a.json is not usable" in record.message
    assert len(record.message.splitlines()) == 1
    assert not (tmp_path / "command-a.json").exists()
    assert len(list(tmp_path.iterdir())) == 1, "set aside"


async def test_a_folder_that_cannot_be_written_is_said_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = SeenObjectsFile(tmp_path / "none", "a", [TOOL])
    await memory.keep({0: SEEN[0]})

    assert "cannot be written, a restart will not miss these tokens: No such file" in caplog.records[0].message
    (tmp_path / "none").mkdir()
    await memory.keep({0: SEEN[0]})
    assert json.loads((tmp_path / "none" / "command-a.json").read_text(encoding="utf-8"))["runs"][TOOL]["a"] == ["a", "1", "slot 1"]  # fmt: skip
