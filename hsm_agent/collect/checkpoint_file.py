"""The checkpoints of a source that follows files: what it has read, in the state directory. Blocks on the disk."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import quote

from hsm_agent import codec
from hsm_agent.state import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

C = TypeVar("C")
log = logging.getLogger(__name__)


class CheckpointFile(Generic[C]):
    """One file a source, with a checkpoint for each thing that it follows, by name; written whole or not at all."""

    def __init__(self, directory: Path, prefix: str, source: str, kind: type[C]) -> None:
        self._path = directory / f"{prefix}-{quote(source, safe='')}.json"
        self._kind = kind
        self._stored = ""

    def load(self) -> dict[str, C]:
        """The checkpoints; none where there is no file, or a damaged one, which is set aside. Raises OSError."""
        try:
            raw = files.read_json(self._path)
            entries = {} if raw is None else raw
            if not isinstance(entries, dict):
                raise ValueError("not an object")  # noqa: TRY004, TRY301 - the stored data is wrong, as below
            return {name: codec.decode(self._kind, content) for name, content in entries.items()}
        except ValueError as error:
            aside = files.set_aside(self._path)
            log.error("%s is damaged (%s): set aside as %s, and begun anew", self._path, error, aside.name)  # noqa: TRY400
            return {}

    def store(self, checkpoints: Mapping[str, C]) -> None:
        """Keep them; nothing is written where nothing changed. Raises OSError."""
        text = codec.dump({name: codec.encode(each) for name, each in checkpoints.items()})
        if text != self._stored:
            files.write(self._path, text.encode())
            self._stored = text
