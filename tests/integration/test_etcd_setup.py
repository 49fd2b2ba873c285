"""The set-up of docs/etcd.md as it stands there: certificates, three members, users; and the client against it."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.net.etcd import EtcdClient
from hsm_agent.net.etcd_messages import (
    Compare,
    EndpointDown,
    EtcdRefused,
    EtcdUnavailable,
    NoProof,
    Put,
    prefix_end,
)
from hsm_agent.net.etcd_settings import EtcdSettings
from tests.peers.etcd import EtcdCluster, EtcdTls, settings
from tests.peers.pki import Identity
from tests.peers.require import ROOT, environment_for, require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PAGE = (ROOT / "docs" / "etcd.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MEMBERS = ("etcd-1", "etcd-2", "etcd-3")
COMMON_NAME = """
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=fra-1" -keyout named.key -out named.csr
openssl x509 -req -in named.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile agent.example.net.ext -out named.pem
"""


def block(heading: str) -> str:
    """The block below a heading, or behind a paragraph that begins so."""
    found = BLOCK.search(PAGE, PAGE.index(heading))
    assert found is not None
    return found[2]


class Documented:
    """A cluster as the page makes it, but for addresses, paths, and times that a test cannot wait for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        certificate = self.identity("agent.example.net")
        tls = EtcdTls(ca=folder / "ca.pem", server=certificate, client=certificate)
        self.cluster = EtcdCluster(folder, members=3, tls=tls)
        for member in self.cluster.members:
            member.configuration = folder / f"{member.name}.yml"

    def identity(self, name: str) -> Identity:
        return Identity(certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}.key", fingerprint="")

    def here(self, text: str) -> str:
        for member in self.cluster.members:
            host = f"{member.name}.example.net"
            text = text.replace(f"{host}:2379", f"127.0.0.1:{member.port}")
            text = text.replace(f"{host}:2380", f"127.0.0.1:{member.peer_port}")
        return text

    async def run(self, script: str) -> str:
        program = require("etcdctl")
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            "sh", "-euc", self.here(script), cwd=self.folder,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environment_for(program), "PATH": path},
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()

    async def make_certificates(self) -> None:
        named = "subjectAltName=DNS:%s"
        script = block("### Certificates")
        assert named in script
        await self.run(script.replace(named, f"{named},IP:127.0.0.1") + COMMON_NAME)

    def configure(self) -> None:
        for member in self.cluster.members:
            text = block("### Members")
            assert text.count("etcd-1.example.net.") == 4
            text = text.replace("etcd-1.example.net.", f"{member.name}.example.net.")
            text = text.replace("name: etcd-1", f"name: {member.name}")
            for key, port in (("client", member.port), ("peer", member.peer_port)):
                address = f"https://127.0.0.1:{port}"
                text = re.sub(rf"(?<=^listen-{key}-urls: ).*", address, text, flags=re.MULTILINE)
                text = re.sub(rf"(?<=advertise-{key}-urls: ).*", address, text)
            text = self.here(text).replace("/etc/etcd", str(self.folder))
            text = text.replace("/var/lib/etcd/hsm-agent", str(self.folder / member.name))
            for slow, quick in (
                ("interval: 100", "interval: 50"),
                ("timeout: 1000", "timeout: 500"),
                ("ttl: 300", "ttl: 1"),
            ):
                assert slow in text
                text = text.replace(slow, quick)
            assert member.configuration is not None
            member.configuration.write_text(text, encoding="utf-8")

    async def client(self, user: str, **changes: Any) -> EtcdClient:
        who = {"user": user, "password": {"file": str(self.folder / f"{user}.password")}} if user else {}
        tree = settings(self.cluster, timeout="2s") | who | changes
        return EtcdClient(await asyncio.to_thread(EtcdSettings.model_validate, tree))


@pytest.fixture
async def documented(tmp_path: Path) -> AsyncIterator[Documented]:
    made = Documented(tmp_path)
    await made.make_certificates()
    made.configure()
    async with made.cluster:
        await made.run(block("### Users"))
        yield made


async def test_the_set_up_of_the_page_works_and_keeps_strangers_out(documented: Documented) -> None:
    """Users with a key each, tokens that end and die with a member, and all that is refused with its reason."""
    own, prefix = b"/hsm-agent-fleet/fra-1", b"/hsm-agent-fleet/"
    publisher, reader = await documented.client("fra-1"), await documented.client("fleet-reader")
    lease = await publisher.grant(30)
    revision = await publisher.put(own, b"1", lease=lease)
    await publisher.keep_alive(lease)
    for other in (b"/hsm-agent-fleet/fra-12", b"/other"):
        with pytest.raises(EtcdRefused, match="permission denied"):
            await publisher.put(other, b"1")
    found = await reader.range(prefix, end=prefix_end(prefix))
    assert [each.key for each in found.entries] == [own]
    with pytest.raises(EtcdRefused, match="permission denied"):
        await reader.put(own, b"2")

    await asyncio.sleep(2.2)  # the tokens have ended
    fence = Compare(key=own, mod_revision=revision)
    assert (await publisher.transaction(compares=[fence], puts=[Put(key=own, value=b"2")])).succeeded

    await documented.run(block("### Users").split("for user")[0] + block("**No room.**"))

    await documented.cluster.members[0].kill()
    async with asyncio.timeout(10):
        while True:
            try:
                assert (await reader.range(own)).entries[0].value == b"2"
                break
            except EtcdUnavailable:
                await asyncio.sleep(0.1)
    await publisher.close()
    await reader.close()
    await refusals(documented)


async def refusals(documented: Documented) -> None:
    ca, named = str(documented.folder / "ca.pem"), documented.identity("named")
    wrong = documented.folder / "fleet-reader.password"
    cases = [
        ({"password": {"file": str(wrong)}}, "authentication failed"),
        ({"tls": {"ca": ca}}, "bad certificate|certificate required"),
        (
            {"tls": {"ca": ca, "certificate": str(named.certificate), "key": str(named.key)}},
            "CommonName of client sending a request against gateway",
        ),
    ]
    for keys, why in cases:
        client = await documented.client("fra-1", **keys)
        with pytest.raises(EtcdUnavailable, match=why) as caught:
            await client.range(b"/hsm-agent-fleet/fra-1")
        troubles = caught.value.troubles.values()
        kinds = [kind for each in troubles for kind in (EndpointDown, NoProof) if isinstance(each, kind)]
        assert sorted(each.__name__ for each in kinds) == [EndpointDown.__name__, *[NoProof.__name__] * 2]
        await client.close()
    nobody = await documented.client("")
    with pytest.raises(EtcdRefused, match="permission denied"):  # a certificate, and no user
        await nobody.range(b"/hsm-agent-fleet/fra-1")
    await nobody.close()
