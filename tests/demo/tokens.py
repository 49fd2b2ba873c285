"""What the demonstration watches: three tokens and an appliance, each driven over its threshold and back."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tests.peers import private_mounts
from tests.peers.agent import source
from tests.peers.opencryptoki import OpenCryptoki
from tests.peers.require import MissingPeerError
from tests.peers.softhsm import SoftHsm
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.peers.token_user import TokenUser

OBJECT_BYTES = 4096
STORE_BYTES = 100_000
SESSION_LIMIT = 50
AUDIT_RECORDS = 10_000


class Watched(Protocol):
    """One token or appliance of the demonstration."""

    label: str
    what: str
    real: bool

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """The alarms it is to set off: resource and default rule."""

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Its sources in the configuration."""

    def rise(self) -> str:
        """Drive it over its threshold; returns what was done."""

    def fall(self) -> str:
        """Drive it back; returns what was done."""


@dataclass
class Store:
    """SoftHSM: the fill of its object store, real files on a real disk."""

    hsm: SoftHsm
    user: TokenUser
    label: str = "payments"
    what: str = "SoftHSM: fill of its object store"
    real: bool = True

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """The alarms it is to set off: resource and default rule."""
        return ((self.label, "token-storage"),)

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Its source in the configuration."""
        store = {"directory": str(self.hsm.tokens), "capacity": STORE_BYTES}
        return [source("softhsm", self.hsm.module, self.hsm.environment, tokens=[self.label], object_store=store)]

    def rise(self) -> str:
        """Write objects until the store is over its critical level."""
        count = 0
        while sum(file.stat().st_size for file in self.hsm.tokens.rglob("*.object")) < STORE_BYTES * 0.97:
            count = self.user.create_objects(1, size=OBJECT_BYTES)
        return f"{count} objects of {OBJECT_BYTES} bytes written"

    def fall(self) -> str:
        """Destroy them."""
        self.user.destroy_objects()
        return "the objects destroyed"


@dataclass
class Sessions:
    """opencryptoki: sessions that another process opens on a real token."""

    module: Path
    environment: dict[str, str]
    user: TokenUser
    label: str = "signing"
    what: str = "opencryptoki: sessions of another process"
    real: bool = True

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """The alarms it is to set off: resource and default rule."""
        return ((self.label, "token-sessions"),)

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Its source in the configuration."""
        limit = {self.label: SESSION_LIMIT}
        return [source("sessions", self.module, self.environment, tokens=[self.label], sessions_max=limit, luna="off")]

    def rise(self) -> str:
        """Open sessions, as an application that leaks them."""
        return f"{self.user.open_sessions(SESSION_LIMIT - 1)} sessions opened of {SESSION_LIMIT}"

    def fall(self) -> str:
        """Close them."""
        self.user.close_sessions(SESSION_LIMIT)
        return "the sessions closed"


@dataclass
class Luna:
    """The test module: memory and audit store of a Luna-like token, simulated."""

    hsm: FakeHsm
    label: str = "root-ca"
    what: str = "test module: memory and audit store of a Luna-like token"
    real: bool = False

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """The alarms it is to set off: resource and default rule."""
        return ((self.label, "token-memory"), (self.label, "audit-fill"))

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Its source in the configuration."""
        rhythm = {"audit_every": "500ms", "audit_capacity": AUDIT_RECORDS}
        return [source("luna-like", self.hsm.module, self.hsm.environment, tokens=[self.label], **rhythm)]

    def rise(self) -> str:
        """Fill the memory to 95 percent, the audit store to 85."""
        self.hsm.set_memory(free=50_000)
        self.hsm.set_audit(AUDIT_RECORDS * 0.85, capacity=AUDIT_RECORDS)
        return "memory filled to 95 %, audit store to 85 %"

    def fall(self) -> str:
        """Empty both."""
        self.hsm.set_memory(free=900_000)
        self.hsm.set_audit(0, capacity=AUDIT_RECORDS)
        return "memory freed, audit store drained"


@contextmanager
def tokens(folder: Path) -> Iterator[tuple[list[Watched], Sequence[str]]]:
    """The tokens, and the prefix of commands that must see all of them."""
    softhsm = SoftHsm(folder / "softhsm")
    softhsm.create_token("payments")
    luna = FakeHsm(folder / "luna", "root-ca")
    luna.set_luna()
    # Where a token tells its storage too, that speaks in place of its memory: here memory is to be seen.
    luna.fault("CA_GetTokenStorageInformation", rv="0x54")
    luna.set_memory(total=1_000_000, free=900_000)
    luna.set_audit(0, capacity=AUDIT_RECORDS)
    with softhsm.user("payments") as writer, _sessions(folder) as (sessions, prefix):
        yield [Store(softhsm, writer), sessions, Luna(luna)], prefix


@contextmanager
def _sessions(folder: Path) -> Iterator[tuple[Sessions, Sequence[str]]]:
    """The opencryptoki token where it can run, the test module in its place elsewhere."""
    if private_mounts.allowed():
        try:
            with OpenCryptoki(folder / "opencryptoki", "signing") as real, real.user() as user:
                yield Sessions(real.module, {}, user), real.enter
                return
        except (RuntimeError, MissingPeerError) as error:
            print(f"opencryptoki can't run here ({error}): the test module takes its place", flush=True)
    simulated = FakeHsm(folder / "sessions", "signing")
    simulated.set_session_limit(SESSION_LIMIT)
    with simulated.user("signing") as user:
        what = "test module in place of opencryptoki: sessions of another process"
        yield Sessions(simulated.module, simulated.environment, user, what=what, real=False), ()
