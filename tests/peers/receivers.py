"""A RELP server and a receiver of informs as one child process, at a site of its own; every arrival is written down.

Both acknowledge what they are told, unless they are held: then it is written down, and acknowledged when they are let
go (RELP), or when it is sent again after that (informs). Needs no pytest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hsm_agent.model import EventKind
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.mib import ALARM, ALARM_ARC, BASE, NOTIFICATIONS
from hsm_agent.wire.snmp.pdu import (
    PduType,
    Version,
    encode_community_message,
    encode_pdu,
    open_message,
    read_pdu,
    read_varbinds,
)
from tests.fakes.relp_server import RelpPeer
from tests.fakes.stream_server import Peer
from tests.fakes.syslog_oracle import read as read_syslog
from tests.peers.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.fakes.relp_server import Frame
    from tests.peers.sites import Place

RELP, INFORM = "relp", "inform"
RELP_PORT, INFORM_PORT = 2514, 10162
COMMUNITY = "for-tests-only"
_ANSWER_SECONDS = 5.0
_ROOT = Path(__file__).resolve().parents[2]
_TRAP_OID: ber.Oid = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
_KINDS = {(*BASE, *arc): kind for kind, (arc, _) in NOTIFICATIONS.items()}
_NAMES = {(*BASE, *ALARM_ARC, column.number, 0): column.name for column in ALARM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One event as a receiver heard it once."""

    time: float
    """UTC seconds."""
    channel: str
    """`relp` or `inform`."""
    peer: str
    """The address it came from."""
    exchange: str
    """Two arrivals of one exchange are one telling: an inform that was sent again is."""
    accepted: bool
    """False: it was held, and the agent did not hear of its arrival then."""
    event_id: str
    alarm_id: str
    kind: EventKind
    rule: str
    source: str
    resource: str
    labels: dict[str, str] = field(default_factory=dict)
    """RELP alone has them."""
    text: str = ""


@dataclass(kw_only=True)
class Receivers(Daemon):
    """The process. Restarted, it listens at the same ports and goes on writing."""

    folder: Path
    place: Place
    _read: int = 0
    _arrivals: list[Arrival] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "receivers.log"

    @property
    def relp(self) -> str:
        """For a sink's `to:`."""
        return f"relp:{self.place.address}:{RELP_PORT}"

    @property
    def inform(self) -> str:
        """For a sink's `to:`."""
        return f"udp:{self.place.address}:{INFORM_PORT}"

    async def start(self) -> None:
        words = [*self.place.command, sys.executable, "-m", __name__, self.place.address, str(self.folder)]
        await self._run(
            Path(words[0]),
            words[1:],
            tcp=[RELP_PORT],
            udp=[INFORM_PORT],
            environment={"PYTHONPATH": str(_ROOT)},
        )

    def arrivals(self) -> list[Arrival]:
        """All that arrived so far, in order."""
        path = self.folder / "arrivals"
        if path.exists():
            with path.open(encoding="utf-8") as file:
                file.seek(self._read)
                text = file.read()
            whole = text[: text.rfind("\n") + 1]
            self._read += len(whole.encode())
            for line in whole.splitlines():
                found = json.loads(line)
                self._arrivals.append(Arrival(**{**found, "kind": EventKind(found["kind"])}))
        return self._arrivals

    def hold(self, *channels: str) -> None:
        """Acknowledge nothing at these channels from now on."""
        for channel in channels:
            (self.folder / f"hold-{channel}").touch()

    def release(self) -> None:
        """Acknowledge all again."""
        for channel in (RELP, INFORM):
            (self.folder / f"hold-{channel}").unlink(missing_ok=True)


class _Process:
    """What runs in the child."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = (folder / "arrivals").open("a", encoding="utf-8", buffering=1)
        self._sessions = 0

    def is_held(self, channel: str) -> bool:
        return (self._folder / f"hold-{channel}").exists()

    def write(self, arrival: Arrival) -> None:
        self._file.write(json.dumps({**asdict(arrival), "kind": arrival.kind.value}) + "\n")

    async def relp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sessions += 1
        peer = Peer(reader, writer)
        session, name = RelpPeer(peer), f"{os.getpid()}.{self._sessions}"
        with suppress(OSError, asyncio.IncompleteReadError):  # the client went away: its right
            await session.open()
            while True:
                frame = await session.syslog()
                held = self.is_held(RELP)
                self.write(_syslog(frame, peer.address, f"{name}.{frame.txnr}", accepted=not held))
                while self.is_held(RELP):
                    await asyncio.sleep(0.02)
                await session.answer(frame.txnr)
        writer.close()

    def datagram(self, data: bytes, address: tuple[str, int]) -> bytes | None:
        version, position, end = open_message(data)
        assert version == Version.V2C
        community, position = ber.read_octets(data, position, end)
        assert community.decode() == COMMUNITY
        pdu = read_pdu(data, position, end)
        assert pdu.pdu_type is PduType.INFORM
        held = self.is_held(INFORM)
        values = {each.name: each.value for each in read_varbinds(pdu.varbinds)}
        if values[_TRAP_OID] in _KINDS:  # not coldStart and the like
            self.write(_inform(values, address[0], f"{address[0]}:{address[1]}/{pdu.request_id}", accepted=not held))
        if held:
            return None
        answer = encode_pdu(PduType.RESPONSE, pdu.request_id, 0, 0, (pdu.varbinds,))
        return encode_community_message(Version.V2C, community, answer)


def _syslog(frame: Frame, peer: str, exchange: str, *, accepted: bool) -> Arrival:
    message = read_syslog(frame.data)
    own = next(values for name, values in message.elements if name.startswith("hsm@"))
    labels = next((values for name, values in message.elements if name.startswith("labels@")), {})
    return Arrival(
        time=time.time(),
        channel=RELP,
        peer=peer,
        exchange=exchange,
        accepted=accepted,
        event_id=own["eventId"],
        alarm_id=own["alarmId"],
        kind=EventKind(message.message_id),
        rule=own["rule"],
        source=own["source"],
        resource=own["resource"],
        labels=labels,
        text=message.text or "",
    )


def _inform(values: Mapping[ber.Oid, object], peer: str, exchange: str, *, accepted: bool) -> Arrival:
    texts = {
        name.removeprefix("hsmAlarm"): value.decode()
        for oid, name in _NAMES.items()
        if isinstance(value := values[oid], bytes) and name != "hsmAlarmTime"
    }
    return Arrival(
        time=time.time(),
        channel=INFORM,
        peer=peer,
        exchange=exchange,
        accepted=accepted,
        event_id=texts["EventId"],
        alarm_id=texts["AlarmId"],
        kind=_KINDS[cast("ber.Oid", values[_TRAP_OID])],
        rule=texts["Rule"],
        source=texts["Source"],
        resource=texts["Resource"],
        text=texts["Text"],
    )


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, process: _Process) -> None:
        self._process = process
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._process.datagram(data, addr)
        if answer is not None:
            assert self._transport is not None
            self._transport.sendto(answer, addr)


async def main(host: str, folder: Path) -> None:
    process = _Process(folder)
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: _Datagrams(process), local_addr=(host, INFORM_PORT))
    server = await asyncio.start_server(process.relp, host, RELP_PORT, limit=1 << 20)
    await server.serve_forever()


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("folder", type=Path)
    return parser.parse_args(words)


if __name__ == "__main__":
    given = _arguments(sys.argv[1:])
    asyncio.run(main(given.host, given.folder))
