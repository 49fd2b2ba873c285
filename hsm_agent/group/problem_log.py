"""What keeps this agent from its part in the group, for the log: once it has lasted. Pure: clocks are arguments."""

from __future__ import annotations


class ProblemLog:
    """Whether a problem is worth a line, or that it is over. Its words may change while it lasts, as etcd's do."""

    def __init__(self, *, after_seconds: float) -> None:
        """`after_seconds`: how long a problem has to last, and how long to be gone."""
        self._after_seconds = after_seconds
        self._is_told = False
        self._changed_at: float | None = None
        """Since when it is otherwise than was told."""

    def note(self, problem: str, now: float) -> str:
        """The line that is due, mostly none: empty. `problem`: as it is now, empty where there is none."""
        if bool(problem) == self._is_told:
            self._changed_at = None
            return ""
        if self._changed_at is None:
            self._changed_at = now
        if now - self._changed_at < self._after_seconds:
            return ""
        self._is_told, self._changed_at = not self._is_told, None
        return problem or "this agent can do its part again"
