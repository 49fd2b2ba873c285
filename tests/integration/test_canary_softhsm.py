"""The canary on SoftHSM: signatures of every kind, PINs, keys and modules that are wrong, hangs, deaths."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.canary.source import CanaryCollector
from tests.integration.canary_source import canary, said, settings, tree
from tests.peers import signing_key
from tests.peers.rights import needs_root
from tests.peers.softhsm import PIN, SoftHsm

if TYPE_CHECKING:
    from hsm_agent.collect.canary.source import CanarySettings


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hsm(tmp_path: Path) -> SoftHsm:
    found = SoftHsm(tmp_path / "hsm")
    found.create_token("payments")
    signing_key.make(found.module, "payments", PIN, environment=found.environment)
    return found


def of(tmp_path: Path, hsm: SoftHsm, pin: str = PIN, **keys: Any) -> CanarySettings:
    return settings(tmp_path, hsm.module, pin, environment=hsm.environment, token="payments", **keys)


@pytest.fixture
def right(tmp_path: Path, hsm: SoftHsm) -> CanarySettings:
    return of(tmp_path, hsm)


@pytest.mark.parametrize(
    ("kind", "mechanism"),
    [
        ("ec", "ECDSA"),
        ("rsa", "RSA-PKCS"),
        ("rsa", "SHA256-RSA-PKCS"),
        ("rsa", "SHA512-RSA-PKCS"),
        ("rsa", "SHA256-RSA-PKCS-PSS"),
        ("hmac", "SHA256-HMAC"),
    ],
)
async def test_a_signature_is_made_and_timed(tmp_path: Path, kind: str, mechanism: str) -> None:
    hsm = await asyncio.to_thread(SoftHsm, tmp_path / "hsm")
    await asyncio.to_thread(hsm.create_token, "payments")
    await asyncio.to_thread(signing_key.make, hsm.module, "payments", PIN, kind=kind, environment=hsm.environment)
    wanted = await asyncio.to_thread(of, tmp_path, hsm, mechanism=mechanism, key={"id": "0A:1B"})
    async with canary(tmp_path, wanted) as signer:
        first, second = await signer.poll(), await signer.poll()
        (process,) = signer.pids()

    assert [said(poll) for poll in (first, second)] == [(1, ""), (1, "")]
    assert all(0 < (poll.readings[1].value or 0) < 1 for poll in (first, second))
    assert first.calls["C_Login"] == 1
    assert not Path(f"/proc/{process}").exists()


async def test_a_wrong_pin_is_tried_once_whatever_restarts(tmp_path: Path, hsm: SoftHsm) -> None:
    wrong = await asyncio.to_thread(of, tmp_path, hsm, "not-the-pin")
    answers = []
    for _ in range(3):
        async with canary(tmp_path, wrong) as signer:
            answers += [said(await signer.poll()), said(await signer.poll())]
            assert signer.pids() == ()

    assert {ok for ok, _ in answers} == {0}
    assert answers[0][1].startswith("C_Login returned CKR_PIN_INCORRECT; the token refused the PIN on ")
    assert all(why.startswith("the token refused the PIN on ") for _, why in answers[1:])
    assert all("it is not tried again until the PIN is corrected" in why for _, why in answers)


async def test_a_corrected_pin_is_tried_and_what_is_forgotten_too(
    tmp_path: Path, hsm: SoftHsm, right: CanarySettings
) -> None:
    wrong = await asyncio.to_thread(of, tmp_path, hsm, "not-the-pin")
    async with canary(tmp_path, wrong) as signer:
        await signer.poll()
        assert not await signer.forget("another token")
        assert await signer.forget("payments")
        again = said(await signer.poll())
    corrected = await asyncio.to_thread(of, tmp_path, hsm, PIN)
    async with canary(tmp_path, corrected) as signer:
        well = said(await signer.poll())

    assert again[1].startswith("C_Login returned CKR_PIN_INCORRECT")
    assert well == (1, "")
    assert right.model_dump() == corrected.model_dump()


@needs_root  # nobody else may look into a process that dumps no core
async def test_neither_the_note_nor_the_log_nor_the_process_shows_the_pin(
    tmp_path: Path, right: CanarySettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with canary(tmp_path, right) as signer:
        await signer.poll()
        (process,) = signer.pids()
        shown = b"".join(Path(f"/proc/{process}/{name}").read_bytes() for name in ("cmdline", "environ"))
    note = tmp_path / "canary-canary.json"

    assert PIN.encode() not in shown + note.read_bytes()
    assert PIN not in caplog.text
    assert PIN not in repr(right) + repr(right.job(()))
    assert note.stat().st_mode & 0o777 == 0o600


@needs_root  # nobody else may look into a process that dumps no core
async def test_the_process_is_clean_and_dumps_no_core(
    tmp_path: Path, right: CanarySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_SECRET", "do not pass on")
    with Path("/dev/null").open(encoding="ascii") as inheritable:
        os.set_inheritable(inheritable.fileno(), True)
        async with canary(tmp_path, right) as signer:
            await signer.poll()
            process = Path(f"/proc/{signer.pids()[0]}")
            environment = (process / "environ").read_bytes().split(b"\0")
            open_files = [str(path.readlink()) for path in (process / "fd").iterdir()]
            limits = (process / "limits").read_text(encoding="ascii")

    assert {entry.split(b"=")[0] for entry in environment if entry} == {
        b"PATH",
        b"LC_ALL",
        b"PYTHONPATH",
        b"SOFTHSM2_CONF",
    }
    assert open_files.count("/dev/null") == 1
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)


@pytest.mark.parametrize(
    ("keys", "said_of_it"),
    [
        ({"token": "nowhere"}, r"C_GetTokenInfo: .*'nowhere': check `token`"),
        ({"key": {"label": "nothing"}}, r"C_FindObjects: .*check `key`"),
        ({"mechanism": "SHA256-RSA-PKCS"}, r"C_Sign(: the key cannot sign| returned CKR_)"),
        ({"module": "/nonexistent.so"}, r"C_Initialize: OS exception while loading .*: check `module`"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_held_against_the_pin(
    tmp_path: Path, hsm: SoftHsm, keys: dict[str, Any], said_of_it: str
) -> None:
    wanted = await asyncio.to_thread(of, tmp_path, hsm)
    changed = await asyncio.to_thread(lambda: wanted.model_validate({**tree(wanted), **keys}))
    async with canary(tmp_path, changed) as signer:
        poll = await signer.poll()
        ok, why = said(poll)
        again, _ = said(await signer.poll())

    assert (ok, again) == (0, 0)
    assert re.match(said_of_it, why), why
    assert poll.next_in_seconds == 15.0
    assert [reading.reason for reading in poll.readings] == ["", "the canary did not sign"]


async def test_a_look_from_outside_does_not_log_in(tmp_path: Path, right: CanarySettings) -> None:
    looking = CanaryCollector(right, CollectorContext(state_directory=tmp_path, lasting=False))
    poll = await looking.poll()

    assert said(poll) == (None, "only the running agent signs: it knows whether the PIN was refused before")
    assert looking.calls_a_day()["C_Login"] == 1440
    assert not (tmp_path / "canary-canary.json").exists()
    assert looking.pids() == ()


async def test_a_pin_that_was_tried_and_nobody_saw_how_is_not_tried_again(tmp_path: Path, hsm: SoftHsm) -> None:
    from hsm_agent.collect.canary.signer import PinRecordStatus

    wanted = await asyncio.to_thread(of, tmp_path, hsm)
    await asyncio.to_thread(wanted.pin_record(tmp_path).keep, PinRecordStatus.TRYING)
    async with canary(tmp_path, wanted) as signer:
        ok, why = said(await signer.poll())
        assert signer.pids() == ()

    assert (ok, why.partition(" on ")[0]) == (0, "the PIN was first tried")


async def test_without_a_note_no_pin_is_tried(tmp_path: Path, right: CanarySettings) -> None:
    nowhere = tmp_path / "no" / "such"
    async with canary(nowhere, right) as signer:
        ok, why = said(await signer.poll())

    assert ok is None
    assert "cannot be written" in why


async def test_a_token_file_that_is_locked_makes_it_hang_for_real(tmp_path: Path, hsm: SoftHsm) -> None:
    wanted = await asyncio.to_thread(of, tmp_path, hsm, timeout="1s")
    async with canary(tmp_path, wanted) as signer:
        await signer.poll()
        with hsm.locked(hsm.directories()[0]):
            ok, why = said(await signer.poll())
        back = said(await signer.poll())

    assert (ok, back) == (0, (1, ""))
    assert "did not return within 1 s" in why


@pytest.mark.parametrize(("kind", "mechanism"), [("ec", "ECDSA"), ("rsa", "SHA256-RSA-PKCS"), ("hmac", "SHA256-HMAC")])
def test_the_calls_that_arrive_at_the_module_are_those_of_the_security_document(
    tmp_path: Path, kind: str, mechanism: str
) -> None:
    hsm = SoftHsm(tmp_path / "hsm")
    hsm.create_token("payments")
    signing_key.make(hsm.module, "payments", PIN, kind=kind, environment=hsm.environment)
    spy = [sys.executable, "-m", "tests.fakes.pkcs11_spy", str(hsm.module), "payments", PIN, mechanism]
    done = subprocess.run(
        spy, env={**os.environ, **hsm.environment}, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    canary = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("\n## The canary\n")[2].partition("\n## ")[0]
    assert set(done.stdout.split()) | {"C_GetFunctionList"} == set(re.findall(r"`(C_\w+)`", canary))
