"""What this host calls itself."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

HOST_NAME_SECONDS = 3.0


async def host_name(*, otherwise: str, find: Callable[[], str] = socket.getfqdn) -> str:
    """The host's full name; where no resolver knows it, or none answers soon, `otherwise`."""
    host = socket.gethostname()
    try:
        host = await Lane("the look-up of this host's own name").call(find, seconds=HOST_NAME_SECONDS)
    except StuckError as error:
        log.warning("%s: syslog's HOSTNAME is %s", error, host if _is_full(host) else otherwise)
    return host if _is_full(host) else otherwise


def _is_full(host: str) -> bool:
    return "." in host and not host.startswith("localhost")
