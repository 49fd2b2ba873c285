"""What Luna's own functions say: audit store, partition storage, firmware. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.collect.pkcs11.token import NOT_REPORTED, Fact, count
from hsm_agent.collect.series import Point, seconds_to_full
from hsm_agent.workers.pkcs11.return_values import LOG_AUDIT_NOT_INITIALIZED, LOG_FULL, OK, name

if TYPE_CHECKING:
    from collections.abc import Sequence

AUDIT_METRICS = (
    "audit_records",
    "audit_capacity_records",
    "audit_used_percent",
    "audit_seconds_to_full",
    "audit_role_initialized",
    "audit_export_working",
)
STORAGE_METRICS = (
    "token_storage_total_bytes",
    "token_storage_used_bytes",
    "token_storage_free_bytes",
    "token_storage_used_percent",
)


def audit_facts(
    status: Sequence[int] | None, points: Sequence[Point], capacity: int, *, full: bool, reason: str
) -> list[Fact]:
    """The audit store. `full` means that the HSM itself refused a call because of it, whatever the count says."""
    facts = [Fact("audit_capacity_records", capacity)]
    if status is None:
        facts.append(Fact("audit_records", None, reason))
    else:
        facts.append(Fact("audit_records", status[4]))
        full = full or status[1] == LOG_FULL  # the last poll of the logging daemon met a full store
    if full:
        return [*facts, Fact("audit_used_percent", 100.0), Fact("audit_seconds_to_full", 0.0)]
    if status is None:
        return [*facts, Fact("audit_used_percent", None, reason), Fact("audit_seconds_to_full", None, reason)]
    percent = 100 * status[4] / capacity
    return [
        *facts,
        Fact("audit_used_percent", percent),
        Fact("audit_seconds_to_full", seconds_to_full(points, capacity)),
    ]


def audit_role_facts(status: Sequence[int] | None, reason: str, *, uninitialized: bool = False) -> list[Fact]:
    """Whether there is an auditor, and whether the logging daemon's last poll succeeded.

    The library documents neither field: 1 and 0 are taken as yes and no, the vendor's code for "not initialised" as no.
    """
    role: int | None = None
    if uninitialized:
        role = 0
    elif status is not None:
        role = {0: 0, 1: 1, LOG_AUDIT_NOT_INITIALIZED: 0}.get(status[0])
        reason = "" if role is not None else f"the HSM says {name(status[0], luna=True)} of its audit role"
    initialized = Fact("audit_role_initialized", role, "" if role is not None else reason)
    if role == 0:
        return [initialized, Fact("audit_export_working", None, "the HSM's audit role is not initialised")]
    if status is None:
        return [initialized, Fact("audit_export_working", None, reason)]
    return [initialized, Fact("audit_export_working", int(status[1] == OK))]


def storage_facts(values: Sequence[int] | None, word: int, *, reason: str) -> list[Fact]:
    """Fill of the partition, and its number of objects, from CA_GetTokenStorageInformation."""
    if values is None:
        return [Fact(metric, None, reason) for metric in (*STORAGE_METRICS, "token_objects")]
    _, total, used, free, objects = (count(value, word) for value in values)
    facts = fill_facts(total, used, free)
    return [*facts, Fact("token_objects", objects, "" if objects is not None else NOT_REPORTED)]


def fill_facts(total: int | None, used: int | None, free: int | None = None, *, why: str = NOT_REPORTED) -> list[Fact]:
    """Fill of any store of which total and used are known."""
    if total is not None and used is not None and used > total:
        why = f"{used} bytes used of {total} cannot be"
        total = used = None
    elif total == 0:
        why = "its total is reported as 0 bytes"
        total = None
    if total is None or used is None:
        return [Fact(metric, None, why) for metric in STORAGE_METRICS]
    left = total - used if free is None else free
    return [
        Fact("token_storage_total_bytes", total),
        Fact("token_storage_used_bytes", used),
        Fact("token_storage_free_bytes", left),
        Fact("token_storage_used_percent", 100 * used / total),
    ]


def store_facts(capacity: int, used: int, *, free: int | None = None) -> list[Fact]:
    """Fill of a directory against the capacity the operator gave it, which files can well outgrow.

    `free` is what is left of a capacity that others share.
    """
    return [
        Fact("token_storage_total_bytes", capacity),
        Fact("token_storage_used_bytes", used),
        Fact("token_storage_free_bytes", max(0, capacity - used) if free is None else free),
        Fact("token_storage_used_percent", 100 * used / capacity),
    ]
