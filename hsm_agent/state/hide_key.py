"""The key of the pseudonyms that views show instead of hidden names, in the state directory. Blocks on the disk."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from hsm_agent.state import files as state_file
from hsm_agent.state.files import DamagedFileError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "hide.key"
_BYTES = 32


def load(directory: Path) -> bytes:
    """The key; made at random where there is none. Raises OSError, DamagedFileError.

    A damaged one is not replaced: other pseudonyms than yesterday's would be no news that anybody sees.
    """
    path = directory / FILE_NAME
    found = state_file.read(path)
    if found is None:
        key = secrets.token_bytes(_BYTES)
        state_file.write(path, key.hex().encode() + b"\n")
        return key
    try:
        key = bytes.fromhex(found.decode("ascii"))
    except ValueError as error:
        raise DamagedFileError(f"{path}: not {_BYTES} bytes in hexadecimal") from error
    if len(key) != _BYTES:
        raise DamagedFileError(f"{path}: not {_BYTES} bytes in hexadecimal")
    return key
