"""The SNMP tables of a store, and what a scope sees of them, without a responder around."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hsm_agent.serve.snmp.scalars import engine_groups, system_group
from hsm_agent.serve.snmp.tables import WHOLE, Scope, Tables
from hsm_agent.serve.snmp.view import Moment
from hsm_agent.state.row_indexes import Indexes
from hsm_agent.wire.snmp.engine import Counters, Engine
from hsm_agent.wire.snmp.mib import BASE
from hsm_agent.wire.snmp.pdu import read_varbinds
from tests.fakes.snmp_present import ENGINE_ID, STARTED

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.serve.hide import Mask
    from hsm_agent.store import Store
    from hsm_agent.wire.snmp.ber import Oid

EVERYTHING: Scope = frozenset({WHOLE})
MOMENT = Moment(5000.0, STARTED + 3600)
TOKEN_LABEL, TOKEN_STATUS, TOKEN_SESSIONS = (1, 3, 1, 3), (1, 3, 1, 10), (1, 3, 1, 17)
SINK_QUEUED = (1, 7, 1, 6)


async def tables(
    directory: Path, present: Store, *scopes: Scope, base: Oid = BASE, refresh: bool = True, mask: Mask | None = None
) -> Tables:
    made = Tables(store=present, base=base, indexes=await asyncio.to_thread(Indexes.load, directory), mask=mask)
    engine = Engine(engine_id=ENGINE_ID, boots=1, started=0.0)
    system = system_group(base=base, engine=engine, name="x", contact="", location="")
    await made.arrange(scopes or (EVERYTHING,), {**system, **engine_groups(engine, Counters())})
    if refresh:
        await made.refresh([*present.sources, "agent"], alarms=True)
    return made


def listed(made: Tables, scope: Scope = EVERYTHING) -> dict[Oid, object]:
    view = made.view(scope)
    found, end = view.run(view.after((0, 0)), 100_000, MOMENT)
    assert end is None
    return {one.name: one.value for one in read_varbinds(b"".join(found))}


def column(made: Tables, arc: Oid, scope: Scope = EVERYTHING, base: Oid = BASE) -> dict[int, object]:
    prefix = base + arc
    return {name[-1]: value for name, value in listed(made, scope).items() if name[:-1] == prefix}
