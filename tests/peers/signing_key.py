"""A key pair on a token, made by another process through python-pkcs11."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]


def make(
    module: Path,
    token: str,
    pin: str,
    *,
    kind: str = "ec",
    label: str = "canary",
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> None:
    """Make a key of `kind` ec, rsa or hmac, with id 0a1b."""
    command = [*prefix, sys.executable, "-m", "tests.peers.signing_key", str(module), token, pin, kind, label]
    clean = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), **(environment or {})}
    subprocess.run(command, env=clean, check=True, timeout=60, capture_output=True)


def _main(module: str, token: str, pin: str, kind: str, label: str) -> None:
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    keys: dict[str, Any] = {"store": True, "label": label, "id": b"\x0a\x1b"}
    with pkcs11.lib(module).get_token(token_label=token).open(rw=True, user_pin=pin) as session:
        if kind == "rsa":
            session.generate_keypair(pkcs11.KeyType.RSA, 2048, **keys)
        elif kind == "hmac":
            can = pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY
            session.generate_key(pkcs11.KeyType.GENERIC_SECRET, 256, capabilities=can, **keys)
        else:
            curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
            parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
            parameters.generate_keypair(**keys)


if __name__ == "__main__":
    _main(*sys.argv[1:6])
