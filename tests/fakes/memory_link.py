"""A link without a socket: what is sent is answered at once by a function, or refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hsm_agent.net.udp import LinkError, UdpLink

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryLink(UdpLink):
    """Sends to a function. `refuse` is an errno for every datagram longer than `carries`."""

    def __init__(
        self, answer: Callable[[bytes, float], bytes | None], *, refuse: int = 0, carries: int = 65507
    ) -> None:
        super().__init__()
        self._answer = answer
        self._refuse = refuse
        self._carries = carries
        self.sent: list[bytes] = []
        self.closed = False

    def send(self, datagram: bytes) -> None:
        if self._refuse and len(datagram) > self._carries:
            raise LinkError("refused", self._refuse)
        self.sent.append(datagram)
        answer = self._answer(datagram, asyncio.get_running_loop().time())
        if answer is not None:
            self.datagram_received(answer, None)

    def close(self) -> None:
        self.closed = True
        super().close()
