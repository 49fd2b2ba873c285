"""Every kind of source: one file each, and one name in this union."""

from __future__ import annotations

from hsm_agent.collect.pkcs11 import Pkcs11Settings

AnySource = Pkcs11Settings
"""One of the kinds of source; told apart by `kind`."""
