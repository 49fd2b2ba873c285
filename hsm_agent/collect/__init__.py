"""Every kind of source: one file each, and one name in this union."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from hsm_agent.collect.canary import CanarySettings
from hsm_agent.collect.certificate import CertificateSettings
from hsm_agent.collect.declared import DeclaredSettings
from hsm_agent.collect.pkcs11 import Pkcs11Settings

AnySource = Annotated[CanarySettings | CertificateSettings | DeclaredSettings | Pkcs11Settings, Discriminator("kind")]
"""One of the kinds of source; told apart by `kind`."""
