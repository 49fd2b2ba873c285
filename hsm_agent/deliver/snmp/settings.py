"""The `kind: snmp` sinks: their settings, and which sink each type is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from hsm_agent.deliver.base import patience_seconds
from hsm_agent.deliver.snmp.inform import InformSink
from hsm_agent.deliver.snmp.peer import Peer
from hsm_agent.deliver.snmp.trap import TrapSink
from hsm_agent.model import Guarantee, Severity
from hsm_agent.net.address import Address, source_address
from hsm_agent.net.snmp_answers import NOT_FOR_V3, AnswersFrom
from hsm_agent.settings.secret import Secret
from hsm_agent.settings.snmp import SnmpUser, trap_receiver_line
from hsm_agent.settings.types import Deadline, Interval, Strict

if TYPE_CHECKING:
    from hsm_agent.deliver.base import SinkContext

__all__ = ["SnmpSink", "SnmpSinkSettings", "SnmpUser", "trap_receiver_line"]

SCHEMES = ("udp", "udp6")
_MAX_RETRIES = 20

SnmpSink = InformSink | TrapSink
"""Both can `notify` beside what every sink can."""


def _receiver(text: str) -> str:
    return str(Address.parse(text, SCHEMES))


class SnmpSinkSettings(Strict):
    """A receiver of notifications and how it is spoken to."""

    name: str = Field(min_length=1)
    kind: Literal["snmp"]
    to: Annotated[str, AfterValidator(_receiver)]
    version: Literal["v2c", "v3"]
    type: Literal["trap", "inform"] | None = None
    """None: inform for v3, trap for v2c."""
    community: Secret | None = None
    user: SnmpUser | None = None
    timeout: Annotated[Deadline, Field(le=60)] = 2.0
    """Seconds an answer is waited for before the inform is sent again."""
    retries: Annotated[int, Field(ge=0, le=_MAX_RETRIES)] = 3
    minimum_severity: Severity = Severity.WARNING
    heartbeat: Interval | None = None
    bind: Annotated[str, AfterValidator(source_address)] | None = None
    answers_from: AnswersFrom = "same"

    @property
    def address(self) -> Address:
        """The receiver, parsed."""
        return Address.parse(self.to, SCHEMES)

    @property
    def notification_type(self) -> Literal["trap", "inform"]:
        """What is sent."""
        return self.type or ("inform" if self.version == "v3" else "trap")

    @property
    def guarantee(self) -> Guarantee:
        """How far its deliveries can be relied on."""
        return Guarantee.AT_LEAST_ONCE if self.notification_type == "inform" else Guarantee.BEST_EFFORT

    @property
    def patience_seconds(self) -> float:
        """How long the pump waits: to open the link, to discover the engine, and for the answer to one inform."""
        return patience_seconds(self.timeout * (1 + 2 * (self.retries + 1)))

    @model_validator(mode="after")
    def _an_answer_comes_in_time(self) -> Self:
        _ = self.patience_seconds
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.version == "v3":
            if self.user is None:
                raise ValueError("user: required for version v3 (name, auth, and privacy to encrypt)")
            if self.community is not None:
                raise ValueError("community: not for version v3 (it has users)")
            if self.answers_from == "same" and "answers_from" in self.model_fields_set:
                raise ValueError(NOT_FOR_V3)
            return self
        if self.community is None:
            raise ValueError("community: required for version v2c (a secret: {file: PATH})")
        if self.user is not None:
            raise ValueError("user: not for version v2c (it has communities)")
        return self

    def build(self, context: SinkContext) -> SnmpSink:
        """The sink. Derives a user's keys, which takes a few milliseconds."""
        peer = Peer(
            address=self.address,
            bind=self.bind,
            timeout=self.timeout,
            retries=self.retries,
            context=context,
            community=self.community.reveal().encode() if self.community else None,
            user=self.user.user() if self.user else None,
            answers_from=self.answers_from,
        )
        if self.notification_type == "inform":
            return InformSink(name=self.name, peer=peer)
        return TrapSink(name=self.name, peer=peer)

    def receiver_line(self, engine_id: bytes) -> str | None:
        """The createUser line its snmptrapd needs, without the secrets; None for v2c."""
        if self.user is None:
            return None
        return trap_receiver_line(engine_id if self.notification_type == "trap" else None, self.user)
