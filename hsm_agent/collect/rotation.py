"""The names of a rotated set: what a file is called while it is written, and how old the name says it is. Pure."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NUMBER = re.compile(r"(?P<stem>.+?)[.-](?P<number>[0-9]{1,14})")
_DATE = re.compile(
    r"(?P<stem>.+?)[._-](?P<date>[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:[T_-]?[0-9]{2}[:-]?[0-9]{2}(?:[:-]?[0-9]{2})?)?)"
    r"(?:-(?P<epoch>[0-9]{9,10}))?(?P<ending>(?:\.[A-Za-z]+)*)"
)
_DATES_FROM = 10_000_000
_LATEST = 10**15


def rotation(path: Path) -> tuple[Path, int]:
    """The name that a file has while it is written, and how old it is: 0 is the newest, or has no number or date.

    >>> [rotation(Path(name)) for name in ("a.log", "a.log.2.gz")]
    [(PosixPath('a.log'), 0), (PosixPath('a.log'), 2)]
    """
    name = path.name.removesuffix(".gz")
    dated = _DATE.fullmatch(name)
    if dated is not None:
        # Of a date and seconds since 1970 the latter count: `-%Y%m%d-%s` of logrotate, several times a day.
        digits = time.strftime("%Y%m%d%H%M%S", time.gmtime(int(dated["epoch"]))) if dated["epoch"] else dated["date"]
        written = int(re.sub(r"\D", "", digits).ljust(14, "0"))
        return path.with_name(dated["stem"] + dated["ending"]), _LATEST - written
    numbered = _NUMBER.fullmatch(name)
    if numbered is None:
        return path.with_name(name), 0
    number = int(numbered["number"])
    return path.with_name(numbered["stem"]), number if number < _DATES_FROM else _LATEST - number
