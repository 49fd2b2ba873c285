"""Handlers of the control socket's verbs that are about the agent's group."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hsm_agent.agent.control_client import ANSWER_SECONDS, ControlError
from hsm_agent.agent.control_socket import Verb
from hsm_agent.serve.group import group_document, group_troubles
from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.agent.agent import Agent
    from hsm_agent.agent.group import Membership

log = logging.getLogger(__name__)


class GroupCommands:
    """The verbs of one agent that may be a member of a group."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def verbs(self) -> dict[str, Verb]:
        """All of them by name."""
        return {
            "group-status": Verb(self.status, changes_state=False),
            "group-yield": Verb(self.yield_lead, changes_state=True, seconds=ANSWER_SECONDS),
        }

    async def status(self, _request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        """The group as this agent sees it, and why it is not as it should be."""
        self._membership()
        status = self._agent.store.group
        if status is None:
            raise ControlError("the group is not looked at yet; try again")
        document = group_document(status)
        return {"group": document, "troubles": [*group_troubles(document)]}

    async def yield_lead(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        """Let another member lead, the named one or any."""
        membership = self._membership()
        from hsm_agent.group.member import NotLeadingError  # noqa: PLC0415 - a member has loaded it

        to = one_line(str(request.get("to") or ""))
        try:
            text = await membership.yield_lead(to)
        except NotLeadingError as error:
            raise ControlError(str(error)) from error
        log.info("%s, as uid %d asked", text, uid)
        return {"text": text}

    def _membership(self) -> Membership:
        if self._agent.group is None:
            raise ControlError("this agent is a member of no group")
        return self._agent.group
