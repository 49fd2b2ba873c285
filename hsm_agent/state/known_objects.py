"""Which tokens, partitions, audit stores and trails there are, on disk, so that a restart shows rows of them at once.

Without them a restart while an HSM does not answer would leave its tokens out of every table. Blocks on the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent import codec
from hsm_agent.model import KnownObject
from hsm_agent.state import files as state_file
from hsm_agent.state.files import DamagedFileError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE_NAME = "known-objects.json"


def load(directory: Path) -> tuple[KnownObject, ...]:
    """What the file has; nothing where there is none. Raises OSError, and DamagedFileError after setting it aside."""
    path = directory / FILE_NAME
    try:
        found = state_file.read_json(path)
        if found is None:
            return ()
        if not isinstance(found, list):
            raise DamagedFileError(f"{path}: no list")
        return tuple(codec.decode(KnownObject, each, ignored=None) for each in found)
    except ValueError as error:  # DamagedFileError is one; else an entry cannot be read
        state_file.set_aside(path)
        raise DamagedFileError(str(error)) from error


def keep(directory: Path, objects: Iterable[KnownObject]) -> None:
    """Replace the file. Raises OSError."""
    state_file.write_json(directory / FILE_NAME, [codec.encode(one) for one in objects])
