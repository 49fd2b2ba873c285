"""Run a command as the user nobody, who may still read the checkout: its folders may be closed to all but root."""

from __future__ import annotations

from tests.peers.require import require

NOBODY = 65534
_RIGHT = "-all,+dac_override"  # not to change anything, but to go through the folders above


def as_nobody(*command: str) -> list[str]:
    """The command line. Needs root."""
    ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return [str(require("setpriv")), *ids, f"--inh-caps={_RIGHT}", f"--ambient-caps={_RIGHT}", *command]
