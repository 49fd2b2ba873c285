"""Free ports, and whether somebody listens on one, without connecting to it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

_LISTEN, _UDP_UNCONNECTED = "0A", "07"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port nobody uses now; good for a peer that must come back on the same one."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> list[int]:
    """So many ports that nobody uses now, no two of them the same."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def listening(port: int, protocol: str = "tcp", *, process: int | None = None) -> bool:
    """Whether a socket of this machine listens on the port. A probing connection would show up in the peer's log.

    `process`: whose network is looked at, if that is not this one's.
    """
    state = _LISTEN if protocol == "tcp" else _UDP_UNCONNECTED
    folder = Path("/proc", "self" if process is None else str(process), "net")
    for table in (folder / protocol, folder / f"{protocol}6"):
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == state:
                return True
    return False


def _is_heard(process: int, port: int, protocol: str) -> bool:
    try:
        return listening(port, protocol, process=process)
    except OSError:
        return False  # it has just ended


async def until_listening(process: asyncio.subprocess.Process, tcp: list[int], udp: list[int], log: Path) -> None:
    """Wait until the process listens on all ports. Raises RuntimeError with its log if it does not within 10 s."""
    for _ in range(500):
        if process.returncode is not None:
            break
        if all(_is_heard(process.pid, port, "tcp") for port in tcp) and all(
            _is_heard(process.pid, port, "udp") for port in udp
        ):
            return
        await asyncio.sleep(0.02)
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    raise RuntimeError(f"the peer does not listen on {tcp} {udp}:\n{text}")
