"""What it means for an endpoint of etcd that no whole answer came from it."""

from __future__ import annotations

from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING

from hsm_agent.net.etcd_messages import AnswerTooLong, CertificateExpired, EndpointDown, NoProof
from hsm_agent.net.http_answer import was_too_long
from hsm_agent.net.streams import NoConnectionError

if TYPE_CHECKING:
    from hsm_agent.net.etcd_messages import EtcdTrouble
    from hsm_agent.net.http_answer import HttpTrouble

_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


def endpoint_trouble(trouble: HttpTrouble) -> EtcdTrouble:
    """What it means that no whole answer came."""
    if was_too_long(trouble):
        return AnswerTooLong(str(trouble))
    causes = _causes(trouble)
    kind: type[EndpointDown | NoProof] = NoProof
    if causes and all(map(_serves_nobody, causes)):
        kind = CertificateExpired if any(map(_is_over, causes)) else EndpointDown
    return kind(str(trouble), sent=trouble.sent)


def _causes(trouble: HttpTrouble) -> tuple[OSError, ...]:
    """Why there is no connection, for each address; none where there was one."""
    cause = trouble.__cause__
    while cause is not None and not isinstance(cause, NoConnectionError):
        cause = cause.__cause__
    return () if cause is None else cause.causes


def _serves_nobody(cause: OSError) -> bool:
    return isinstance(cause, ConnectionRefusedError | ConnectionResetError) or _is_over(cause)


def _is_over(cause: OSError) -> bool:
    return isinstance(cause, SSLCertVerificationError) and cause.verify_code == _EXPIRED
