"""Whom the agent under test trusts besides root: whoever runs the tests, and whoever the checkout belongs to.

Both could change the code that runs here anyway. Needs no pytest: scripts/demo uses it too.
"""

from __future__ import annotations

import os
from pathlib import Path

from hsm_agent.settings.trust import TRUSTED_UIDS

_CHECKOUT = Path(__file__).resolve().parents[2]


def trusting(**more: str) -> dict[str, str]:
    """An environment in which these users are trusted, and whatever else is given."""
    uids = sorted({os.geteuid(), _CHECKOUT.stat().st_uid})
    return {TRUSTED_UIDS: ",".join(map(str, uids)), **more}
