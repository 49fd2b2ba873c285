"""What operators and a new configuration do to alarms: silence, end a silence, forget, withdraw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.evaluate.alarms import Context, close, notice, tell_all
from hsm_agent.evaluate.rules import PRESENCE
from hsm_agent.evaluate.silences import until_text
from hsm_agent.evaluate.state import Book, Draft, Outcome, raised

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsm_agent.evaluate.silences import Silence
    from hsm_agent.model import Series


def silence(book: Book, wanted: Silence, context: Context) -> Outcome:
    """Begin a silence. It is told, as its end will be."""
    draft = Draft(book)
    draft.silences.put(wanted.silence_id, wanted)
    lasts = until_text(wanted.until)
    draft.events.append(
        notice(f"Silence begun by uid {wanted.by_uid}, {lasts}: {wanted.scope} ({wanted.reason})", context)
    )
    return draft.outcome()


def end_silence(book: Book, silence_id: str, by_uid: int, context: Context) -> Outcome:
    """End a silence before its time; what still holds is raised aloud. LookupError if there is none of that id."""
    draft = Draft(book)
    ended = book.silences.get(silence_id)
    if ended is None:
        raise LookupError(f"no silence {silence_id}")
    draft.silences.put(silence_id, None)
    draft.events.append(notice(f"Silence ended by uid {by_uid}: {ended.scope} ({ended.reason})", context))
    tell_all(draft, {}, context)
    return draft.outcome()


def forget(book: Book, alarm_id: str, by_uid: int, context: Context) -> Outcome:
    """Clear an alarm whose object is gone for good. LookupError if there is none of that id.

    If the object is there after all its next reading starts afresh.
    """
    draft = Draft(book)
    for key, _, alarm in raised(book.watches, book.alarmed):
        if alarm.alarm_id == alarm_id:
            close(draft, key, None, context, f"forgotten by uid {by_uid}")
            draft.watches.put(key, None)
            draft.tracks.put(key[1], None)
            draft.events.append(notice(f"Alarm {alarm_id} ({key[0]}) forgotten by uid {by_uid}", context))
            return draft.outcome()
    raise LookupError(f"no alarm {alarm_id}")


WITHDRAWN = "withdrawn, no longer in the configuration"


def withdraw(book: Book, keeps: Callable[[Series], bool], context: Context, *, why: str = WITHDRAWN) -> Outcome:
    """Clear what the configuration no longer holds, and forget all that only served it.

    `context.rules` are the new rules; `keeps` says whether the source and the object of a series are still configured.
    To be called after a reload, at start once the book is loaded, and when an object is gone for good (`why`).
    """
    draft = Draft(book)
    for key in book.watches:
        name, series = key
        if keeps(series) and any(rule.name == name for rule in context.rules.plan_of(series).rules):
            continue
        if book.watches[key].alarm is not None:
            close(draft, key, None, context, why)
        draft.watches.put(key, None)
    _forget_unneeded(draft, keeps, context)
    return draft.outcome()


def _forget_unneeded(draft: Draft, keeps: Callable[[Series], bool], context: Context) -> None:
    book = draft.book
    _forget_objects(draft, keeps, context)
    for series in book.tracks:
        if not keeps(series) or not context.rules.plan_of(series).rules:
            draft.tracks.put(series, None)
    for series, length in book.windows:
        if not keeps(series) or length not in dict(context.rules.plan_of(series).windows):
            draft.windows.put((series, length), None)
    for (series, spacing), points in book.points.items():
        plan = context.rules.plan_of(series)
        if not keeps(series) or spacing not in {need[0] for need in (*plan.points, *plan.floors)}:
            draft.drop_points((series, spacing), points, plan.phase)


def _forget_objects(draft: Draft, keeps: Callable[[Series], bool], context: Context) -> None:
    book = draft.book
    for presence in book.presences:
        if presence[2] != PRESENCE or not keeps((*presence, ())):
            draft.presences.put(presence, None)
    for latest in book.latest:
        if latest[2] not in context.rules.deferred_to or not keeps((*latest, ())):
            draft.latest.put(latest, None)
