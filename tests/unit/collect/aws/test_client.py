"""What an error of a service says to do, and which settings of an account are refused."""

from __future__ import annotations

import builtins
import importlib.util
from typing import Any

import botocore.exceptions as errors
import pytest
from pydantic import ValidationError

from hsm_agent.collect.aws.client import explained
from hsm_agent.collect.aws.cloudwatch import CloudWatchSettings


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.NoCredentialsError(), "give the host a role"),
        (errors.PartialCredentialsError(provider="env", cred_var="x"), "the key or its secret is missing"),
        (errors.ProfileNotFound(profile="bank"), "the profile's name"),
        (errors.EndpointConnectionError(endpoint_url="https://x"), "VPC endpoint"),
        (errors.ReadTimeoutError(endpoint_url="https://x"), "raise timeout"),
        (errors.SSLError(endpoint_url="https://x", error="bad"), "see ca"),
    ],
)
def test_an_error_before_an_answer_says_what_to_do(error: Exception, said: str) -> None:
    assert said in explained(error)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDenied", "docs/sources/cloudwatch.md"),
        ("ExpiredToken", "renew them"),
        ("RequestExpired", "clock is wrong"),
        ("Throttling", "raise every"),
        ("SomethingNew", "SomethingNew: words"),
    ],
)
def test_an_answer_that_refuses_says_what_to_do(code: str, said: str) -> None:
    error = errors.ClientError({"Error": {"Code": code, "Message": "words\n\x1b[2J"}}, "GetMetricData")

    text = explained(error)
    assert said in text
    assert text.isprintable()


def test_a_kind_whose_extra_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "boto3" else real(name, *rest))

    with pytest.raises(ValidationError, match=r"pip install hsm-agent\[aws\]"):
        _settings()


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"cluster": "abc"}, "cluster"),
        ({"aws": {"region": "EU WEST"}}, "aws.region"),
        ({"aws": {"region": "eu-west-1", "endpoint": "monitoring"}}, "endpoint"),
        ({"aws": {}}, "aws.region"),
    ],
)
def test_bad_settings_are_refused_with_their_place(keys: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError, match=place):
        _settings(**keys)


def _settings(**keys: Any) -> CloudWatchSettings:
    wanted = {"name": "c", "kind": "cloudwatch", "cluster": "cluster-a1", "aws": {"region": "eu-west-1"}, **keys}
    return CloudWatchSettings.model_validate(wanted)


def test_reading_a_configuration_imports_no_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    real = builtins.__import__

    def noted(name: str, *rest: Any, **more: Any) -> Any:
        imported.append(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", noted)
    assert list(_settings().about()) == ["cluster-a1 in eu-west-1"]
    assert not [name for name in imported if name.startswith("boto")]
