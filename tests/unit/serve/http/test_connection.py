from __future__ import annotations

from http import HTTPStatus

import pytest

from hsm_agent.serve.http.connection import Patience, plain, respond


def test_a_response_names_its_type_and_is_not_to_be_kept() -> None:
    response = respond(HTTPStatus.OK, b"{}", "application/json")

    assert dict(response.headers) == {
        "Content-Type": "application/json",
        "Server": "hsm-agent",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    assert (response.status, response.body) == (200, b"{}")


@pytest.mark.parametrize("status", [HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED, HTTPStatus.INTERNAL_SERVER_ERROR])
def test_an_error_is_the_bare_words_of_its_status(status: HTTPStatus) -> None:
    response = plain(status, {"Allow": "GET"})

    assert response.body == f"{status.value} {status.phrase}\n".encode()
    assert response.headers["Allow"] == "GET"


def test_a_scraper_that_comes_once_a_minute_keeps_its_connection() -> None:
    assert Patience().idle_seconds > 60
