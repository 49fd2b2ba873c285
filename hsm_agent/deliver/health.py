"""The status of one sink: what the pump tells of it, to the status, the log and the agent's own readings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hsm_agent.model import SinkState, SinkStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsm_agent.deliver.base import Sink
    from hsm_agent.spool import Spool

log = logging.getLogger(__name__)


class SinkHealth:
    """The status of one sink: counts results, reports each change, and logs when the sink fails or is back."""

    def __init__(
        self, sink: Sink, spool: Spool, *, on_status: Callable[[SinkStatus], None], clock: Callable[[], float]
    ) -> None:
        self.last_error = ""
        self.long_refused = 0
        """Events that the receiver did not take for half a minute or longer, so far."""
        self._sink = sink
        self._spool = spool
        self._on_status = on_status
        self._clock = clock
        self._state = SinkState.IDLE
        self._delivered = self._failed = 0
        self._failing_since: float | None = None

    @property
    def failing(self) -> bool:
        """The last thing sent was not accepted."""
        return self._failing_since is not None

    @property
    def queued(self) -> int:
        """Events that wait for this sink."""
        queue = self._spool.stats().sinks.get(self._sink.name)
        return queue.queued if queue else 0

    def accepted(self, events: int) -> None:
        """The receiver accepted so many spooled events, or (0) a heartbeat."""
        self._delivered += events
        self._state = SinkState.UP
        if self._failing_since is not None:
            seconds = self._clock() - self._failing_since
            self._failing_since = None
            log.warning("sink %s is back after %.0f s, %d events waiting", self._sink.name, seconds, self.queued)
        self.report()

    def refused(self, reason: str, *, failing: bool) -> None:
        """The receiver refused an event. `failing`: it takes no other one now either."""
        if failing:
            self.failed(reason, SinkState.REFUSED)
            return
        self._failed += 1
        self.gave_up(reason)

    def gave_up(self, reason: str) -> None:
        """An event became a dead letter."""
        self.last_error = reason
        self._state = SinkState.REFUSED
        self.report()

    def failed(self, reason: str, state: SinkState = SinkState.RETRYING) -> None:
        """Nothing gets through now."""
        self._failed += 1
        self.last_error = reason
        self._state = state
        if self._failing_since is None:
            self._failing_since = self._clock()
            log.warning("sink %s is failing: %s", self._sink.name, reason)
        self.report()

    def report(self) -> None:
        """Hand over the status."""
        queue = self._spool.stats().sinks.get(self._sink.name)
        self._on_status(
            SinkStatus(
                name=self._sink.name,
                kind=self._sink.kind,
                guarantee=self._sink.guarantee,
                state=self._state,
                queued=queue.queued if queue else 0,
                delivered=self._delivered,
                failed=self._failed,
                dropped=queue.dead_letters_total + queue.dropped_total if queue else 0,
                refused=self.long_refused,
                failing_since=self._failing_since,
                last_error=self.last_error,
            )
        )
