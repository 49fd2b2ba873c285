"""How many examples the slower unit tests try: few, or all of them where THOROUGH is set, as `scripts/test` sets it."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("HSM_AGENT_THOROUGH"))


def examples(most: int, few: int) -> int:
    return most if THOROUGH else few
