from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.pkcs11.source import SeenTokensFile
from hsm_agent.collect.pkcs11.token import TokenIdentity

if TYPE_CHECKING:
    from pathlib import Path

SEEN = {"alpha": TokenIdentity("alpha", "S1"), "schlüssel": TokenIdentity("schlüssel", "")}


async def test_what_is_kept_is_known_to_the_next_process(tmp_path: Path) -> None:
    await SeenTokensFile(tmp_path, "pkcs11", "luna/a").keep(SEEN)

    assert await SeenTokensFile(tmp_path, "pkcs11", "luna/a").load() == SEEN
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_file_is_written_only_when_it_would_differ(tmp_path: Path) -> None:
    memory = SeenTokensFile(tmp_path, "pkcs11", "a")
    await memory.keep(SEEN)
    (path,) = tmp_path.iterdir()
    path.unlink()
    await memory.keep(dict(SEEN))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"tokens": 5}', b'{"tokens": {"a": {}}}', b"\xff\xfe"])
async def test_a_spoilt_file_is_said_and_done_without(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pkcs11-a.json").write_bytes(content)

    assert await SeenTokensFile(tmp_path, "pkcs11", "a").load() == {}
    assert "not usable" in caplog.text


async def test_a_directory_that_cannot_be_written_is_said_and_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = SeenTokensFile(tmp_path / "missing", "pkcs11", "a")

    assert await memory.load() == {}
    await memory.keep(SEEN)
    assert "cannot be written" in caplog.text
