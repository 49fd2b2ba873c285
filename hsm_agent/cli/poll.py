"""Reading every source once, for `poll` and `check`: nothing is judged, spooled or sent."""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hsm_agent.collect.base import CollectorContext, SourceFailure
from hsm_agent.evaluate.hsms import Hsms
from hsm_agent.metrics import unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hsm_agent.collect.base import AnySource, Poll
    from hsm_agent.model import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """What one source gave: a poll, or the reason why there is none."""

    source: str
    kind: str
    poll: Poll | None
    failure: str
    calls_a_day: Mapping[str, float]

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The readings, none where the poll failed."""
        return self.poll.readings if self.poll else ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What people should know of the source and no reading says."""
        return self.poll.remarks if self.poll else ()

    @property
    def failures(self) -> tuple[str, ...]:
        """What failed: the whole poll, or single slots and calls."""
        return (self.failure,) if self.poll is None else self.poll.errors


async def poll_all(sources: Sequence[AnySource], hsms: Mapping[str, Sequence[str]] | None = None) -> list[Polled]:
    """Poll every source once, side by side, and leave nothing behind. What is of a whole HSM bears its name."""
    with tempfile.TemporaryDirectory(prefix="hsm-agent-poll-") as scratch:
        # A scratch directory: a look from outside must not change what the running agent remembers of its tokens.
        polled = await asyncio.gather(*(_poll(source, Path(scratch)) for source in sources))
    known = Hsms(hsms)
    return [replace(each, poll=_shared(each.poll, known)) for each in polled]


def _shared(poll: Poll | None, hsms: Hsms) -> Poll | None:
    return None if poll is None else replace(poll, readings=hsms.shared(poll.readings).readings)


async def _poll(source: AnySource, scratch: Path) -> Polled:
    collector = source.build(CollectorContext(state_directory=scratch, lasting=False))
    try:
        poll, failure = await collector.poll(), ""
        # Only the kind of source knows where names hide in what it brought.
        poll = replace(poll, raw=source.mask(poll.raw))
    except SourceFailure as error:
        poll, failure = None, str(error)
    finally:
        await collector.close()
    return Polled(source=source.name, kind=source.kind, poll=poll, failure=failure, calls_a_day=collector.calls_a_day())


def as_json(polled: Iterable[Polled], *, explain: bool = False) -> str:
    """All readings as one JSON document, and the calls of the poll where they are to be explained."""
    return json.dumps([_source_json(each, explain=explain) for each in polled], indent=2, ensure_ascii=False)


def _source_json(polled: Polled, *, explain: bool) -> dict[str, object]:
    found: dict[str, object] = {
        "source": polled.source,
        "kind": polled.kind,
        "failures": list(polled.failures),
        "remarks": list(polled.remarks),
        "readings": [reading_json(reading) for reading in polled.readings],
    }
    if explain:
        found["calls"] = dict(polled.poll.calls) if polled.poll else {}
        found["calls_a_day"] = dict(polled.calls_a_day)
    return found


def reading_json(reading: Reading) -> dict[str, object]:
    """One reading for JSON: an unavailable one has value null and a reason, one without end is the text `inf`."""
    finite = reading.value is None or abs(reading.value) != float("inf")
    return {
        "source": reading.source,
        "resource": reading.resource,
        "metric": reading.metric,
        "labels": dict(reading.labels),
        "value": reading.value if finite else "inf",
        "unit": unit(reading.metric),
        "reason": reading.reason,
        "time": reading.time,
    }


def record(polled: Iterable[Polled], directory: Path) -> list[Path]:
    """Write each source's raw result, labels and serials masked, as `<source>.json`; returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for each in polled:
        if each.poll is None or each.poll.raw is None:
            continue
        file = directory / f"{each.source.replace('/', '_')}.json"
        file.write_text(json.dumps(each.poll.raw, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(file)
    return written
