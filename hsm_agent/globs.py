"""Globs on names, as the shell has them: `*`, `?` and `[…]`, letter by letter. Pure.

Matching takes time in proportion to the name: `fnmatch` makes an expression that never goes back over a star. Making
it takes time and memory in proportion to the glob, which is therefore bounded, as is how many are kept: fnmatch itself
would keep tens of thousands, whoever they come from.
"""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache

LONGEST_GLOB = 256
"""Characters; a token's label has 32, a name in the MIB 255 octets."""
_KEPT = 1024


def glob_matches(name: str, glob: str) -> bool:
    """Whether the whole name is as the glob says."""
    return glob == "*" or _compiled(glob).match(name) is not None


@lru_cache(_KEPT)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))


def checked_glob(glob: str) -> str:
    """The glob. Raises ValueError if it is longer than a glob may be."""
    if len(glob) > LONGEST_GLOB:
        raise ValueError(f"longer than {LONGEST_GLOB} characters")
    return glob
