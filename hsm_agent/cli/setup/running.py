"""An agent that runs on the state that setup writes for: it is told to reload, and asked to prove its new sinks."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from hsm_agent.agent.control_client import ControlError, ask, listener_pid
from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_RELOAD_SECONDS = 20.0
_LOOK_AGAIN_SECONDS = 0.2
_OTHER = "the running agent has other sinks: it reads another configuration file, and this one needs a restart of it"


class RunningAgent:
    """The agent behind a control socket, if there is one."""

    def __init__(self, control: Path, *, reload_seconds: float = _RELOAD_SECONDS) -> None:
        self._control = control
        self._reload_seconds = reload_seconds

    def is_there(self) -> bool:
        return self._status() is not None

    def prove(self, names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
        """What became of a TEST event at each sink, and what went wrong, once the agent has the new configuration."""
        try:
            if problem := self._reload(names):
                return [], (problem,)
            answer = ask(self._control, "test-notification", sink=None)
            status = self._status() or {"sinks": []}
            guarantees = {sink["name"]: sink["guarantee"] for sink in status["sinks"]}
            proofs = [one_line(f"{name}: {_told(how, guarantees.get(name))}") for name, how in answer["sinks"].items()]
        except ControlError as error:
            return [], (one_line(str(error)),)
        except (KeyError, TypeError, AttributeError) as error:
            return [], (f"{self._control}: not an answer of an agent ({type(error).__name__})",)
        return proofs, () if answer["accepted"] else ("not every receiver could be proved",)

    def _reload(self, names: Sequence[str]) -> str:
        """Send SIGHUP and wait until the new configuration is in force, with its sinks; what went wrong, else empty."""
        before = self._status()
        try:
            os.kill(listener_pid(self._control), signal.SIGHUP)
        except (OSError, ControlError) as error:
            return one_line(f"the running agent could not be told to reload: {error}")
        end = time.monotonic() + self._reload_seconds
        while time.monotonic() < end:
            status = self._status()
            if status is not None and _loaded_at(status) != _loaded_at(before):
                return "" if {sink["name"] for sink in status["sinks"]} == set(names) else _OTHER
            time.sleep(_LOOK_AGAIN_SECONDS)
        return (
            f"the running agent has not taken the new configuration within {self._reload_seconds:g} s; its log says why"
        )

    def _status(self) -> dict[str, Any] | None:
        try:
            return ask(self._control, "status")
        except ControlError:
            return None


def _loaded_at(status: dict[str, Any] | None) -> float | None:
    return None if status is None else status["agent"]["configured"]


def _told(result: str, guarantee: str | None) -> str:
    if result == "accepted" and guarantee == "best effort":
        return "sent; receivers of this kind acknowledge nothing: look there for the TEST"
    return "accepted, the receiver acknowledged it" if result == "accepted" else result
