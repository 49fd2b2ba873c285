"""An originator and a receiver that talk to each other without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.client_engine import ClientOutcome, Discovered, Originator
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.snmp_messages import NOW, PRIV_USER, engine

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.usm import User

VARBINDS = (ber.encode_varbind((1, 3, 6, 1, 2, 1, 1, 3, 0), ber.encode_timeticks(42)),)


def v2c_originator() -> Originator:
    return Originator(engine=engine(), first_id=100, community=b"public")


def v3_originator(user: User = PRIV_USER) -> Originator:
    return Originator(engine=engine(), first_id=100, user=user)


class Talk:
    """An originator and a receiver, and the time, which is the same for both."""

    def __init__(self, originator: Originator, receiver: InformReceiver) -> None:
        self.originator = originator
        self.receiver = receiver
        self.now = NOW

    def probe(self) -> ClientOutcome | None:
        return self.hear(self.receiver.answer(self.originator.encode_probe(), self.now))

    def inform(self, request_id: int = 1) -> ClientOutcome | None:
        message = self.originator.encode_inform(request_id, VARBINDS, self.now)
        return self.hear(self.receiver.answer(message, self.now))

    def hear(self, answer: bytes | None) -> ClientOutcome | None:
        return None if answer is None else self.originator.receive(answer, self.now)

    def get_ready(self) -> None:
        assert self.probe() == Discovered()
        assert self.probe() == Discovered()
        assert self.originator.ready


def talk(user: User = PRIV_USER) -> Talk:
    """A talk past its discovery."""
    made = Talk(v3_originator(user), InformReceiver(user=user))
    made.get_ready()
    return made
