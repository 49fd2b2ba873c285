"""Which PIN is tried how often, whatever becomes of the login. On tokens: tests/integration/test_canary_*.py."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.canary.signer import Attempt, Job, PinRecordFile, PinRecordStatus, Signer
from hsm_agent.collect.child_process import Launch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FAKE = str(Path(__file__).resolve().parents[2] / "fakes" / "canary_child.py")
GOOD = {"ok": {"signature": "01" * 32, "seconds": 0.01, "public": {}}}
SHORT = {"ok": {"signature": "01" * 31, "seconds": 0.01, "public": {}}}


def refusal(error: str, text: str = "", *, step: str = "C_Login", maker: str = "SafeNet, Inc.") -> dict[str, str]:
    return {"failed": step, "error": error, "text": text, "manufacturer": maker}


class Bench:
    """A signer that can be started again, on a process that answers as told."""

    def __init__(self, folder: Path) -> None:
        self.notes = PinRecordFile(folder, "canary", ("/m", "t", "label=k"), "1234")
        self._tries = folder / "tries"
        self._signer: Signer | None = None

    async def attempts(self, *answers: object, times: int = 1, flags: int = 0, restart: bool = False) -> list[Attempt]:
        environment = {"FAKE_CANARY": json.dumps(answers), "FAKE_TRIES": str(self._tries), "FAKE_FLAGS": str(flags)}
        job = Job(
            launch=Launch(source="canary", environment=environment, command=(sys.executable, "-S", FAKE)),
            module="/m", token="t", key={"label": "k"}, mechanism="SHA256-HMAC", pin="1234",
        )  # fmt: skip
        found = []
        # Only a hang is waited for to the end.
        seconds = 1.5 if "hang" in answers else 10
        signer = Signer(job, self.notes)
        for _ in range(times):
            if restart:
                await signer.close()
                signer = Signer(job, self.notes)
            found.append(await signer.attempt(asyncio.get_running_loop().time() + seconds))
        await signer.close()
        assert signer.children.pids() == ()
        return found

    @property
    def tries(self) -> int:
        return len(self._tries.read_text(encoding="ascii").split()) if self._tries.exists() else 0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    yield Bench(tmp_path)


def failures(outcomes: list[Attempt]) -> list[str]:
    return [outcome.failed for outcome in outcomes]


@pytest.mark.parametrize("restart", [False, True], ids=["going on", "restarted each time"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(refusal("PinIncorrect"), "the token refused the PIN", id="wrong"),
        pytest.param(refusal("PinLocked"), "the token refused the PIN", id="locked"),
        pytest.param(refusal("PinLenRange"), "the token refused the PIN", id="of a wrong length"),
        pytest.param("hang", "nobody saw how that ended", id="hangs in the login"),
        pytest.param("die", "nobody saw how that ended", id="dies in the login"),
        pytest.param(refusal("GeneralError"), "nobody saw how that ended", id="an answer that may mean anything"),
        pytest.param(
            refusal("PKCS11Error", "Unmapped error code 0x80000042"), "nobody saw how that ended", id="a vendor's code"
        ),
    ],
)
async def test_a_new_pin_is_tried_once(bench: Bench, answer: object, said: str, restart: bool) -> None:
    found = await bench.attempts(answer, times=3, restart=restart)

    assert bench.tries == 1
    assert all(outcome.failed for outcome in found)
    assert said in found[-1].failed


@pytest.mark.parametrize("answer", [refusal("DeviceError"), refusal("PKCS11Error", "Unmapped error code 0x80000035")])
async def test_a_login_that_was_surely_no_try_of_the_pin_is_made_again(bench: Bench, answer: object) -> None:
    found = await bench.attempts(answer, GOOD, times=2, restart=True)

    assert bench.tries == 2
    assert found[1] == Attempt(seconds=0.01)
    assert found[0].failed.startswith(
        ("C_Login returned CKR_DEVICE_ERROR", "C_Login returned CKR_LOG_FULL (0x80000035)")
    )


@pytest.mark.parametrize("answer", ["hang", "die", refusal("GeneralError")])
async def test_a_pin_that_was_good_survives_what_is_not_its_fault(bench: Bench, answer: object) -> None:
    found = await bench.attempts(GOOD, answer, GOOD, times=3, restart=True)

    assert bench.tries == 3
    assert [bool(each) for each in failures(found)] == [False, True, False]


async def test_a_pin_that_was_good_and_is_wrong_now_is_tried_once_more(bench: Bench) -> None:
    await bench.attempts(GOOD, refusal("PinIncorrect"), times=5, restart=True)

    assert bench.tries == 2
    assert (await asyncio.to_thread(bench.notes.look)).status is PinRecordStatus.REFUSED


@pytest.mark.parametrize("answer", ["die-signing", refusal("NoSuchKey", step="C_FindObjects"), SHORT])
async def test_what_fails_after_the_login_speaks_for_the_pin(bench: Bench, answer: object) -> None:
    found = await bench.attempts(answer, times=2, restart=True)

    assert bench.tries == 2
    assert all(failures(found))
    assert (await asyncio.to_thread(bench.notes.look)).status is PinRecordStatus.GOOD


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        pytest.param(0x20000, lambda outcome: "one try of the PIN is left" in outcome.untried, id="final try"),
        pytest.param(0x40000, lambda outcome: "the PIN is locked" in outcome.failed, id="locked"),
    ],
)
async def test_flags_that_forbid_a_try_are_heeded(bench: Bench, flags: int, told: Callable[[Attempt], bool]) -> None:
    (found,) = await bench.attempts(GOOD, flags=flags)

    assert told(found)
    assert bench.tries == 0


async def test_a_signature_of_a_wrong_length_is_a_failure(bench: Bench) -> None:
    (found,) = await bench.attempts(SHORT)

    assert found.failed == "C_Sign: the signature has 31 bytes, 32 belong to this key"


async def test_an_attempt_that_is_cancelled_leaves_no_answer_for_the_next(bench: Bench, tmp_path: Path) -> None:
    environment: dict[str, Any] = {
        "FAKE_CANARY": json.dumps([GOOD, "hang", GOOD]),
        "FAKE_TRIES": str(tmp_path / "tries"),
    }
    job = Job(
        launch=Launch(source="canary", environment=environment, command=(sys.executable, "-S", FAKE)),
        module="/m", token="t", key={"label": "k"}, mechanism="SHA256-HMAC", pin="1234",
    )  # fmt: skip
    signer = Signer(job, bench.notes)
    loop = asyncio.get_running_loop()
    await signer.attempt(loop.time() + 5)
    (first,) = signer.children.pids()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await signer.attempt(loop.time() + 60)
    last = await signer.attempt(loop.time() + 5)
    (second,) = signer.children.pids()
    await signer.close()

    assert last == Attempt(seconds=0.01)
    assert first != second
