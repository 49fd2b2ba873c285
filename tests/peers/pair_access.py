"""Certificates, users and passwords between a pair and its etcd, as docs/etcd.md has them. Needs no pytest."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.peers.etcd import EtcdTls
from tests.peers.pair import AGENTS
from tests.peers.pki import Identity
from tests.peers.sites import address_of

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from tests.peers.etcd import EtcdCluster

PREFIX = "/hsm-agent/pair/"
_PASSWORD = "for-tests-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """TLS with a certificate for each agent, and a user for each; `folder` holds all of it."""

    folder: Path
    tls: EtcdTls
    agents: tuple[str, ...]
    _expired: Identity
    _rogue: Identity

    @classmethod
    def make(cls, folder: Path) -> Access:
        """For the agents of a pair and the members of its etcd."""
        import trustme

        folder.mkdir()
        agents = tuple(AGENTS)
        addresses = [address_of(number) for number in (1, 2, 3)]
        authority, rogue = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        for agent in agents:
            _identity(folder, agent, authority, f"{agent}.example.net")
        return cls(
            folder=folder,
            agents=agents,
            tls=EtcdTls(
                ca=folder / "ca.pem",
                server=_identity(folder, "server", authority, *addresses),
                peer=_identity(folder, "peer", authority, *addresses),
                client=_identity(folder, "etcdctl", authority, "etcdctl.example.net"),
            ),
            _expired=_identity(folder, "expired", authority, *addresses, until=hour_ago),
            _rogue=_identity(folder, "rogue", rogue, "agent.example.net"),
        )

    async def protect(self, cluster: EtcdCluster) -> None:
        """Let nobody but the agents in."""
        await cluster.protect(dict.fromkeys(self.agents, _PASSWORD), prefix=PREFIX)
        for agent in self.agents:
            self.password(agent, _PASSWORD)

    def password(self, agent: str, text: str = _PASSWORD) -> None:
        """What the agent takes for its password."""
        path = self.folder / f"{agent}.password"
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")

    def settings(self, agent: str) -> dict[str, Any]:
        """What stands in the agent's section `etcd` beside the endpoints."""
        tls = {
            "ca": str(self.tls.ca),
            "certificate": str(self.folder / f"{agent}.pem"),
            "key": str(self.folder / f"{agent}.key"),
        }
        return {"tls": tls, "user": agent, "password": {"file": str(self.folder / f"{agent}.password")}}

    def expire_server(self) -> None:
        """The members of etcd show clients a certificate that has expired; among themselves they do not."""
        self._replace(self.tls.server, self._expired)

    def estrange(self, agent: str) -> None:
        """The agent's certificate is one that etcd does not take."""
        self._replace(self._of(agent), self._rogue)

    def mend(self) -> None:
        """All certificates and passwords are good again."""
        for identity in (self.tls.server, *map(self._of, self.agents)):
            for path in (identity.certificate, identity.key):
                kept = path.with_suffix(f"{path.suffix}.kept")
                if kept.exists():
                    shutil.copyfile(kept, path)
        for agent in self.agents:
            self.password(agent)

    def _of(self, agent: str) -> Identity:
        return Identity(certificate=self.folder / f"{agent}.pem", key=self.folder / f"{agent}.key", fingerprint="")

    @staticmethod
    def _replace(identity: Identity, by: Identity) -> None:
        for path, other in ((identity.certificate, by.certificate), (identity.key, by.key)):
            shutil.copyfile(path, path.with_suffix(f"{path.suffix}.kept"))
            shutil.copyfile(other, path)


def _identity(folder: Path, name: str, issuer: trustme.CA, *names: str, until: datetime | None = None) -> Identity:
    """Without a common name: etcd's gateway refuses a client's that has one while there are users."""
    leaf = issuer.issue_cert(*names, not_after=until)
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(leaf.private_key_pem.bytes())
    return Identity(certificate=certificate, key=key, fingerprint="")
