"""One signature: reach the token, log in, sign, log out. Raw results; the parent judges them.

python-pkcs11 initialises modules without locking: everything here is of one thread.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pkcs11
from pkcs11 import MGF, Attribute, Mechanism, ObjectClass

if TYPE_CHECKING:
    from collections.abc import Callable

_PSS = {
    256: (Mechanism.SHA256, MGF.SHA256, 32),
    384: (Mechanism.SHA384, MGF.SHA384, 48),
    512: (Mechanism.SHA512, MGF.SHA512, 64),
}
MECHANISMS: dict[str, tuple[Mechanism, Any]] = {
    "ECDSA": (Mechanism.ECDSA, None),
    "ECDSA-SHA256": (Mechanism.ECDSA_SHA256, None),
    "ECDSA-SHA384": (Mechanism.ECDSA_SHA384, None),
    "ECDSA-SHA512": (Mechanism.ECDSA_SHA512, None),
    "EDDSA": (Mechanism.EDDSA, None),
    "RSA-PKCS": (Mechanism.RSA_PKCS, None),
    "SHA256-RSA-PKCS": (Mechanism.SHA256_RSA_PKCS, None),
    "SHA384-RSA-PKCS": (Mechanism.SHA384_RSA_PKCS, None),
    "SHA512-RSA-PKCS": (Mechanism.SHA512_RSA_PKCS, None),
    "SHA256-RSA-PKCS-PSS": (Mechanism.SHA256_RSA_PKCS_PSS, _PSS[256]),
    "SHA384-RSA-PKCS-PSS": (Mechanism.SHA384_RSA_PKCS_PSS, _PSS[384]),
    "SHA512-RSA-PKCS-PSS": (Mechanism.SHA512_RSA_PKCS_PSS, _PSS[512]),
    "SHA256-HMAC": (Mechanism.SHA256_HMAC, None),
}
"""The configuration's names, the mechanism and its parameter."""

_PUBLIC = {
    "modulus": Attribute.MODULUS,
    "exponent": Attribute.PUBLIC_EXPONENT,
    "curve": Attribute.EC_PARAMS,
    "point": Attribute.EC_POINT,
}
"""Attributes that no token keeps secret."""


class Canary:
    """The module, once loaded, and the token. `at` is called with every step that may hang."""

    def __init__(self, at: Callable[[str], None]) -> None:
        self._at = at
        self.step = ""
        self.manufacturer = ""
        self._library: Any = None
        self._token: Any = None
        self._session: Any = None
        self._public: dict[str, str] | None = None

    def _begin(self, step: str) -> None:
        self.step = step
        self._at(step)

    def reach(self, module: str, token: str) -> dict[str, Any]:
        """Open a session without login. Returns the token's flags."""
        if self._library is None:
            self._begin("C_Initialize")
            self._library = pkcs11.lib(module)
            self.manufacturer = str(self._library.manufacturer_id)
        self._begin("C_GetTokenInfo")
        self._token = self._find(token)
        self._begin("C_OpenSession")
        self._session = self._token.open()
        return {"flags": int(self._token.flags)}

    def _find(self, name: str) -> Any:
        """The token of that label, else of that serial. A slot that fails may be another's, or the one: see the end."""
        tokens = []
        trouble: pkcs11.PKCS11Error = pkcs11.NoSuchToken(f"no token is called {name!r}")
        for slot in self._library.get_slots(token_present=True):
            try:
                tokens.append(slot.get_token())
            except pkcs11.PKCS11Error as error:
                trouble = error
        for found in (
            [token for token in tokens if token.label == name],
            [token for token in tokens if token.serial.decode("ascii", "replace").strip() == name],
        ):
            if len(found) == 1:
                return found[0]
            if found:
                raise pkcs11.MultipleTokensReturned(f"{len(found)} tokens are called {name!r}: give the serial number")
        raise trouble

    def sign(self, pin: str, key: dict[str, str], mechanism: str, data: bytes) -> dict[str, Any]:
        """The signature, its seconds, and of the public key what can be read. Logs out and closes, whatever happens."""
        self._begin("C_Login")
        session = self._token.open(user_pin=pin)
        del pin
        try:
            self._begin("C_FindObjects")
            which = ObjectClass.SECRET_KEY if mechanism.endswith("-HMAC") else ObjectClass.PRIVATE_KEY
            private = session.get_key(object_class=which, **_identity(key))
            if self._public is None:
                self._public = self._read_public(session, private, key)
            chosen, parameter = MECHANISMS[mechanism]
            self._begin("C_Sign")
            began = time.monotonic()
            signature = private.sign(data, mechanism=chosen, mechanism_param=parameter)
            seconds = time.monotonic() - began
        except BaseException:
            with contextlib.suppress(pkcs11.PKCS11Error):  # the first error is the one that counts
                session.close()
            raise
        self._begin("C_Logout")
        session.close()
        self._session.close()
        self._session = None
        return {"signature": signature.hex(), "seconds": seconds, "public": self._public}

    def _read_public(self, session: Any, private: Any, key: dict[str, str]) -> dict[str, str]:
        """From the public key if there is one, else what the private key says of it."""
        holders = [private]
        with contextlib.suppress(pkcs11.PKCS11Error):
            holders.insert(0, session.get_key(object_class=ObjectClass.PUBLIC_KEY, **_identity(key)))
        found: dict[str, str] = {}
        for holder in holders:
            for name, attribute in _PUBLIC.items():
                # A key without the attribute, or a token that does not show it: then there is less to verify with.
                with contextlib.suppress(pkcs11.PKCS11Error):
                    found.setdefault(name, bytes(holder[attribute]).hex())
        return {name: text for name, text in found.items() if text}

    def end(self) -> None:
        """Let the module finalise, so that the HSM's server sees us leave."""
        if self._library is not None:
            with contextlib.suppress(pkcs11.PKCS11Error):
                self._library.finalize()


def _identity(key: dict[str, str]) -> dict[str, Any]:
    """What a key is looked up by."""
    found: dict[str, Any] = {}
    if "label" in key:
        found["label"] = key["label"]
    if "id" in key:
        found["id"] = bytes.fromhex(key["id"])
    return found


def answer(canary: Canary, request: dict[str, Any]) -> dict[str, Any]:
    """Serve one request."""
    try:
        if request["do"] == "reach":
            return {"ok": canary.reach(request["module"], request["token"])}
        pin, key = request.pop("pin"), request["key"]
        return {"ok": canary.sign(pin, key, request["mechanism"], bytes.fromhex(request["data"]))}
    except pkcs11.PKCS11Error as error:
        return _failed(canary, error, str(error))
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        # What python-pkcs11 raises where a key cannot do what it is asked for; never with the PIN in it.
        return _failed(canary, error, "the key cannot sign with this mechanism")


def _failed(canary: Canary, error: Exception, text: str) -> dict[str, Any]:
    """Whose module it is tells what a vendor's own code means."""
    return {
        "failed": canary.step,
        "error": type(error).__name__,
        "text": text,
        "manufacturer": canary.manufacturer,
    }
