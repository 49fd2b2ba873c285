"""Times that a wall clock wrote while it was ahead, brought back once it is right again. Pure.

What counts from a time in the future would otherwise wait for that time to come: a silence of two hours, set while
the clock was a year ahead, would last a year. Holds, windows, points and waits for a value see to themselves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.evaluate.alarms import notice
from hsm_agent.evaluate.silences import until_text

if TYPE_CHECKING:
    from hsm_agent.evaluate.alarms import Context
    from hsm_agent.evaluate.state import Draft

WORTH_TELLING_SECONDS = 60.0


def mend(draft: Draft, context: Context) -> None:
    """Let nothing that is remembered have happened later than now."""
    now = context.now
    for key in draft.book.alarmed:
        watch = draft.watch(key)
        alarm, memory = watch.alarm, watch.memory
        if alarm is not None and max(alarm.since, alarm.told_at) > now:
            alarm = replace(alarm, since=min(alarm.since, now), told_at=min(alarm.told_at, now))
        if memory.clock is not None and memory.clock > now:
            memory = replace(memory, clock=now)
        draft.put_watch(key, replace(watch, alarm=alarm, memory=memory))
    for silence in draft.silences.values():
        ahead = silence.created - now
        if ahead <= 0:
            continue
        mended = replace(silence, created=now, until=silence.until - ahead)
        draft.silences.put(silence.silence_id, mended)
        if ahead >= WORTH_TELLING_SECONDS:
            text = f"Silence lasts {until_text(mended.until)}, the clock was set back: {mended.scope} ({mended.reason})"
            draft.events.append(notice(text, context))
