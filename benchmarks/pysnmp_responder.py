"""A pysnmp agent that serves a table from a file: `python -m benchmarks.pysnmp_responder PORT TABLE`.

In its fastest form: a sorted list behind an instrumentation controller of its own, and no access check for each
variable. Values come as [dotted name, tag, text or number], in the MIB's order.
"""

from __future__ import annotations

import bisect
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from benchmarks.messages import AUTH_SECRET, COMMUNITY, PRIVACY_SECRET, USER
from hsm_agent.wire.snmp import ber

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports names that its own companion calls deprecated
    from pysnmp.carrier.asyncio.dgram import udp
    from pysnmp.entity import config, engine
    from pysnmp.entity.rfc3413 import cmdrsp, context
    from pysnmp.proto import rfc1902, rfc1905
    from pysnmp.smi import instrum

_TYPES = {
    ber.INTEGER: rfc1902.Integer32,
    ber.OCTET_STRING: rfc1902.OctetString,
    ber.GAUGE32: rfc1902.Gauge32,
    ber.COUNTER32: rfc1902.Counter32,
    ber.COUNTER64: rfc1902.Counter64,
}
_SYSTEM = (1, 3, 6)


class Flat(instrum.AbstractMibInstrumController):  # type: ignore[misc]  # pysnmp has no types
    """A sorted list of names and values."""

    def __init__(self, table: list[list[Any]]) -> None:
        rows = [(tuple(map(int, name.split("."))), _TYPES[tag](value)) for name, tag, value in table]
        self._keys = [name for name, _ in rows]
        self._rows = [(rfc1902.ObjectName(name), value) for name, value in rows]

    def read_variables(self, *varbinds: Any, **_context: Any) -> list[Any]:
        """GET."""
        found = []
        for name, _ in varbinds:
            place = bisect.bisect_left(self._keys, tuple(name))
            hit = place < len(self._keys) and self._keys[place] == tuple(name)
            found.append(self._rows[place] if hit else (name, rfc1905.noSuchInstance))
        return found

    def read_next_variables(self, *varbinds: Any, **_context: Any) -> list[Any]:
        """GETNEXT, of which pysnmp makes its GETBULK."""
        found = []
        for name, _ in varbinds:
            place = bisect.bisect_right(self._keys, tuple(name))
            found.append(self._rows[place] if place < len(self._rows) else (name, rfc1905.endOfMibView))
        return found


def main() -> None:
    """Serve until killed."""
    port, table = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    agent = engine.SnmpEngine()
    config.add_transport(agent, udp.DOMAIN_NAME, udp.UdpAsyncioTransport().open_server_mode(("127.0.0.1", port)))
    config.add_v1_system(agent, "area", COMMUNITY)
    config.add_v3_user(
        agent, USER, config.USM_AUTH_HMAC192_SHA256, AUTH_SECRET, config.USM_PRIV_CFB128_AES, PRIVACY_SECRET
    )
    config.add_vacm_user(agent, 2, "area", "noAuthNoPriv", _SYSTEM)
    config.add_vacm_user(agent, 3, USER, "authPriv", _SYSTEM)
    served = context.SnmpContext(agent)
    served.unregister_context_name(b"")
    served.register_context_name(b"", Flat(table))
    for responder in (cmdrsp.GetCommandResponder, cmdrsp.NextCommandResponder, cmdrsp.BulkCommandResponder):
        responder(agent, served)
    agent.transport_dispatcher.job_started(1)
    agent.transport_dispatcher.run_dispatcher()


if __name__ == "__main__":
    main()
