"""Clients of AWS services: made when they are first needed, with bounds of time, and errors that say what to do.

boto3 blocks, and takes 30 MB and a second to import: it is imported, and every call is made, on a thread.
"""

from __future__ import annotations

import importlib.util
from typing import Annotated, Any, Protocol, Self

from pydantic import Field, model_validator

from hsm_agent.settings.types import LocalPath, Strict
from hsm_agent.text import one_line

_TRIES = 2
_LONGEST_REASON = 200
_ADVICE = {
    "AccessDenied": "the policy of this role or user does not allow it: see docs/sources/cloudwatch.md",
    "AccessDeniedException": "the policy of this role or user does not allow it: see docs/sources/cloudwatch.md",
    "UnauthorizedOperation": "the policy of this role or user does not allow it: see docs/sources/cloudwatch.md",
    "ExpiredToken": "the temporary credentials are over: renew them",
    "ExpiredTokenException": "the temporary credentials are over: renew them",
    "InvalidClientTokenId": "AWS does not know this access key: see whether it was deleted",
    "UnrecognizedClientException": "AWS does not know this access key: see whether it was deleted, and the region",
    "SignatureDoesNotMatch": "the secret key is wrong, or this host's clock is",
    "InvalidSignatureException": "the secret key is wrong, or this host's clock is",
    "RequestExpired": "this host's clock is wrong by more than 5 minutes: see its time service",
    "RequestTimeTooSkewed": "this host's clock is wrong by more than 15 minutes: see its time service",
    "Throttling": "too many requests in this account: raise every",
    "ThrottlingException": "too many requests in this account: raise every",
    "RequestLimitExceeded": "too many requests in this account: raise every",
    "ResourceNotFoundException": "there is no such thing in this account and region: see the name and the region",
}
"""What an operator does about an error code of the services."""


class AwsTrouble(Exception):
    """A call to a service failed. The text is one line and says what to do."""


class AwsSettings(Strict):
    """Which account and region. Credentials come as for every AWS program: environment, profile, role of the host."""

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{2,32}$")]
    profile: str | None = None
    endpoint: str | None = None
    """Another address of the services, such as a VPC endpoint's."""
    ca: LocalPath | None = None

    @model_validator(mode="after")
    def _is_installed(self) -> Self:
        # Looked for, not imported: that would take a second.
        if importlib.util.find_spec("boto3") is None:
            raise ValueError("needs the package boto3, which is not installed: pip install hsm-agent[aws]")
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError("endpoint: not a URL: it begins with https://")
        return self


class Services(Protocol):
    """What calls the services: `AwsClients`, or what a test has in its place."""

    def call(self, service: str, method: str, **parameters: Any) -> dict[str, Any]: ...


class AwsClients:
    """The clients of one source. For one thread at a time."""

    def __init__(self, settings: AwsSettings, *, timeout_seconds: float) -> None:
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._clients: dict[str, Any] = {}

    def call(self, service: str, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method of a service answers. Raises AwsTrouble."""
        import botocore.exceptions  # noqa: PLC0415 - see above

        try:
            answer: dict[str, Any] = getattr(self._client(service), method)(**parameters)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, ValueError, OSError) as error:
            # ValueError: an endpoint that is none; OSError: a file of ca, or of credentials, that cannot be read.
            raise AwsTrouble(f"{service} {method}: {explained(error)}") from error
        return answer

    def _client(self, service: str) -> Any:
        found = self._clients.get(service)
        if found is None:
            found = self._clients[service] = self._made(service)
        return found

    def _made(self, service: str) -> Any:
        import boto3  # noqa: PLC0415 - see above
        from botocore.config import Config  # noqa: PLC0415

        share = self._timeout_seconds / (2 * _TRIES)
        config = Config(
            connect_timeout=share, read_timeout=share, retries={"mode": "standard", "total_max_attempts": _TRIES}
        )
        session = boto3.Session(profile_name=self._settings.profile, region_name=self._settings.region)
        verify = None if self._settings.ca is None else str(self._settings.ca)
        return session.client(service, endpoint_url=self._settings.endpoint, config=config, verify=verify)


def explained(error: Exception) -> str:
    """An error of botocore as one line, with what to do about it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        details = response.get("Error", {})
        code, message = str(details.get("Code", "")), str(details.get("Message", ""))
        advice = _ADVICE.get(code, "")
        return one_line(f"{code}: {message}")[:_LONGEST_REASON] + (f": {advice}" if advice else "")
    name = type(error).__name__
    advice = _KINDS.get(name, "")
    return one_line(str(error))[:_LONGEST_REASON] + (f": {advice}" if advice else "")


_KINDS = {
    "NoCredentialsError": "give the host a role, or the agent's user a profile or environment variables",
    "PartialCredentialsError": "the key or its secret is missing: see the environment and the profile",
    "ProfileNotFound": "see the profile's name, and ~/.aws of the agent's user",
    "TokenRetrievalError": "log in anew, or use a role",
    "EndpointConnectionError": "see network, proxy and region; without internet a VPC endpoint is needed",
    "ConnectTimeoutError": "see network, proxy and region; without internet a VPC endpoint is needed",
    "ReadTimeoutError": "the service answers slowly: raise timeout",
    "SSLError": "see ca, and what inspects TLS on the way",
    "ProxyConnectionError": "see HTTPS_PROXY",
}
"""What an operator does about an error that came before an answer."""
