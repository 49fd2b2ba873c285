"""An appliance's SNMP agent without a socket: an SNMP client that answers from a tree of integers."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from hsm_agent.net.snmp_session import NoAnswerError, Traffic
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.ber import Oid, VarBind
from hsm_agent.wire.snmp.client_engine import SnmpResponse
from hsm_agent.wire.snmp.pdu import ErrorStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

END = VarBind((1, 3, 99), ber.END_OF_MIB_VIEW_TAG, None)


class TreeClient:
    """Answers from a tree of integers; the arguments say in what it is odd."""

    def __init__(
        self,
        tree: Mapping[Oid, int],
        *,
        most: int = 1000,
        refuses: Mapping[Oid, int] | None = None,
        silent_after: int = 1000,
        circles: bool = False,
    ) -> None:
        self.tree = dict(sorted(tree.items()))
        self._most = most
        self._refuses = refuses or {}
        self._silent_after = silent_after
        self._circles = circles
        self.asked: list[int] = []
        self.traffic = Traffic()

    def begin(self) -> None:
        self.traffic = Traffic()

    def close(self) -> None: ...

    def count(self, count: int) -> None:
        if len(self.asked) >= self._silent_after:
            raise NoAnswerError("no answer", is_ready=True)
        self.asked.append(count)

    async def get(self, names: Sequence[Oid]) -> SnmpResponse:
        self.count(len(names))
        if len(names) > self._most:
            return SnmpResponse(1, ErrorStatus.TOO_BIG, 0, ())
        for place, name in enumerate(names, 1):
            if name in self._refuses:
                return SnmpResponse(1, ErrorStatus.GEN_ERR, place * self._refuses[name], ())
        found = [
            VarBind(name, ber.INTEGER, self.tree[name]) if name in self.tree else self._none(name) for name in names
        ]
        return SnmpResponse(1, 0, 0, tuple(found))

    @staticmethod
    def _none(name: Oid) -> VarBind:
        return VarBind(name, ber.NO_SUCH_INSTANCE_TAG, None)

    async def bulk(self, names: Sequence[Oid], repetitions: int) -> SnmpResponse:
        self.count(len(names) * repetitions)
        if len(names) * repetitions > self._most:
            return SnmpResponse(1, ErrorStatus.TOO_BIG, 0, ())
        if any(name in self._refuses for name in names):
            return SnmpResponse(1, ErrorStatus.NO_ACCESS, 1, ())
        known = sorted(self.tree)
        at, found = list(names), []
        for _ in range(repetitions):
            for place, name in enumerate(at):
                after = known[(begin := bisect_right(known, name)) : begin + 1]
                one = VarBind(after[0], ber.INTEGER, self.tree[after[0]]) if after else END
                at[place] = names[place] if self._circles and not after else one.name
                found.append(one)
        return SnmpResponse(1, 0, 0, tuple(found))
