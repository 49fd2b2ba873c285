"""Tokens that a real command lists: who is there and who is missed, across restarts of the agent."""

from __future__ import annotations

from pathlib import Path

from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.command.source import CommandSettings

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "shell" / "pkcs11_tool_slots_one_label.txt"
LISTING = SAMPLE.read_text(encoding="utf-8")
SECOND_ALONE = LISTING[: LISTING.index("Slot 1")] + LISTING[LISTING.index("Slot 2") :]


async def there(folder: Path, listing: str, *, forget: str = "") -> dict[str, float | int | None]:
    """A poll of an agent that has just been started: who is there."""
    (folder / "listing").write_text(listing, encoding="utf-8")
    run = {"command": ["cat", str(folder / "listing")], "parser": "pkcs11-tool-slots"}
    settings = CommandSettings.model_validate({"name": "tool", "kind": "command", "runs": [run]})
    collector = settings.build(CollectorContext(state_directory=folder))
    if forget:
        assert await collector.forget(forget)
    poll = await collector.poll()
    await collector.close()
    return {reading.resource: reading.value for reading in poll.readings if reading.metric == "token_present"}


async def test_two_tokens_of_one_label_are_missed_by_serial_number_and_keep_their_names(tmp_path: Path) -> None:
    assert await there(tmp_path, LISTING) == {"signing": 1, "5D1E0B02": 1}
    assert await there(tmp_path, SECOND_ALONE) == {"signing": 0, "5D1E0B02": 1}
    assert await there(tmp_path, LISTING) == {"signing": 1, "5D1E0B02": 1}
    assert await there(tmp_path, "Available slots:\n") == {"signing": 0, "5D1E0B02": 0}


async def test_a_token_that_is_gone_for_good_can_be_forgotten_after_a_restart(tmp_path: Path) -> None:
    await there(tmp_path, LISTING)

    assert await there(tmp_path, SECOND_ALONE, forget="signing") == {"signing": 1}
    assert await there(tmp_path, SECOND_ALONE) == {"signing": 1}
