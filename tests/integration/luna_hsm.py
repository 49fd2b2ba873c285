"""What the tests of Luna's functions share: a test HSM that answers all of them, and what each of them brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.collect.base import Poll

METRICS_PRODUCED = {
    "CA_LogGetStatus": {"audit_records", "audit_role_initialized", "audit_export_working"},
    "CA_GetTokenStorageInformation": {"token_storage_used_percent"},
    "CA_GetHSMStorageInformation": {"hsm_storage_total_bytes", "hsm_storage_used_percent"},
    "CA_GetHSMStats": {"hsm_commands_total", "hsm_uptime_seconds"},
    "CA_GetFirmwareVersion": {"hsm_firmware_info"},
    "CA_GetHSMCapabilitySet": {"hsm_capability", "hsm_policies_info"},
    "CA_GetHSMPolicySet": {"hsm_policy", "hsm_policies_info"},
    "CA_GetTokenPolicies": {"token_policy", "token_policies_info"},
    "CA_RoleStateGet": {"token_login_attempts_left", "token_role_locked"},
    "CA_MTKGetState": {"hsm_tampered"},
    "CA_STMGetState": {"hsm_transport_mode"},
    "CA_GetHAState": {"ha_members_up", "ha_members_expected", "ha_member_up"},
}
"""What each function alone brings, as far as it is read the first time."""
ALL = {metric for brought in METRICS_PRODUCED.values() for metric in brought}
KEYS: dict[str, Any] = {"capabilities": "all", "policies": "all", "storage_every": "50ms", "audit_every": "50ms"}


def make(directory: Path) -> FakeHsm:
    """One token `alpha`, which is also an HA group."""
    fake = FakeHsm(directory, "alpha")
    fake.set_luna()
    fake.set_audit(0)
    fake.set_statistics(up=1000, idle=900, commands=5)
    fake.set_pairs("capabilities", {1: 1, 7: 1, 12: 0, 37: 1})
    fake.set_pairs("policies", {7: 1, 12: 1})
    fake.set_pairs("token.policies", {15: 1, 20: 10})
    fake.set_pairs("ha.members", {1001: 0, 1002: 0})
    return fake


def values(poll: Poll, metric: str, label: str) -> dict[str, float | None]:
    return {dict(reading.labels)[label]: reading.value for reading in poll.readings if reading.metric == metric}


def read(poll: Poll) -> set[str]:
    """Metrics that have a value."""
    return {reading.metric for reading in poll.readings if reading.value is not None}
