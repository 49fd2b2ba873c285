"""Telling systemd how the agent is (sd_notify(3)): ready, reloading, stopping, alive. Silent without systemd."""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)


def notify(*states: str) -> None:
    """Send states such as `READY=1` to the socket systemd named, if it named one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto("\n".join(states).encode(), name)
    except OSError as error:
        log.warning("systemd was not told %s: %s", states[0], error.strerror)


def reloading() -> tuple[str, str]:
    """The states of a reload; systemd wants the monotonic time with it (Type=notify-reload)."""
    return ("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_seconds() -> float | None:
    """How often systemd wants a sign of life: half of $WATCHDOG_USEC, None where it wants none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or owner != str(os.getpid()):
        return None
    return int(microseconds) / 2e6
