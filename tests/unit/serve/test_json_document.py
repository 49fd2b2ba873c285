"""Documents as JSON, piece by piece."""

from __future__ import annotations

import json

import pytest

from hsm_agent.serve.json_document import octets


def test_the_pieces_are_one_strict_document_on_one_line() -> None:
    document = {"ok": True, "näme": 'a "b"\n', "rows": [{"value": 1.5}, {"value": None}], "none": [], "sub": {"a": [1]}}

    assert json.loads(octets(document)) == document
    assert octets(document) == json.dumps(document).encode()
    assert octets({}) == b"{}"


def test_what_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        octets({"rows": [float("nan")]})
