from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from hsm_agent.settings.secret import MOST_FILE_BYTES, Secret, SecretError, read_private_file
from tests.peers.rights import needs_root

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.touch(0o600)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(**reference: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Secret.model_validate(reference)
    (error,) = caught.value.errors()
    return error["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"maplesyrup", "maplesyrup"),
        (b"maplesyrup\n", "maplesyrup"),
        (b"maplesyrup\n\n", "maplesyrup\n"),
        (b" maple syrup ", " maple syrup "),
        ("größer".encode(), "größer"),
    ],
)
def test_one_trailing_newline_is_stripped_and_nothing_else(tmp_path: Path, content: bytes, value: str) -> None:
    assert Secret(file=write(tmp_path, content)).reveal() == value


def test_a_relative_file_is_found_from_the_base(tmp_path: Path) -> None:
    write(tmp_path, b"maplesyrup")

    assert Secret.model_validate({"file": "secret"}, context={"base": tmp_path}).reveal() == "maplesyrup"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSM_TEST_SECRET", "maplesyrup\n")

    assert Secret(env="HSM_TEST_SECRET").reveal() == "maplesyrup"


def test_a_credential_of_systemd_is_read_whatever_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, b"maplesyrup", 0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert Secret(credential="secret").reveal() == "maplesyrup"


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "/etc/passwd", "a/b"])
def test_a_credential_name_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert refusal(credential=name) == f"not a credential name: {name!r}"


def test_without_systemd_a_credential_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    assert "$CREDENTIALS_DIRECTORY is not set" in refusal(credential="secret")


@pytest.mark.parametrize(
    "reference",
    [{}, {"file": "a", "env": "B"}, {"file": "a", "credential": "b", "env": "C"}],
    ids=["none", "two", "three"],
)
def test_exactly_one_place_is_named(reference: dict[str, object]) -> None:
    assert refusal(**reference) == "name exactly one of file, credential, env"


def test_a_secret_given_outright_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        Secret.model_validate("maplesyrup")

    assert "maplesyrup" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "complaint"),
    [
        (0o604, "others can read or write it; run: chmod o-rw"),
        (0o602, "others can read or write it; run: chmod o-rw"),
        (0o666, "others can read or write it; run: chmod o-rw"),
    ],
)
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int, complaint: str) -> None:
    path = write(tmp_path, b"maplesyrup", mode)

    assert refusal(file=path) == f"{path}: {complaint} {path}"


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660])
def test_a_file_of_the_process_and_its_groups_is_taken(tmp_path: Path, mode: int) -> None:
    assert Secret(file=write(tmp_path, b"maplesyrup", mode)).reveal() == "maplesyrup"


@needs_root
def test_a_file_a_foreign_group_can_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"maplesyrup", 0o640)
    os.chown(path, -1, 54321)

    assert refusal(file=path) == f"{path}: group 54321 can read it and is not a group of this process"


def test_a_file_of_a_foreign_group_that_only_its_user_can_read_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path, b"maplesyrup", 0o600)

    assert read_private_file(path) == "maplesyrup"


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refusal(file=write(tmp_path, content)) == "the secret is empty"


def test_what_is_no_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, b"\xff\xfe")
    monkeypatch.setitem(os.environb, b"HSM_TEST_SECRET", b"\xff\xfe")

    assert refusal(file=path) == f"{path}: not UTF-8 text"
    assert refusal(env="HSM_TEST_SECRET") == "environment variable HSM_TEST_SECRET: not UTF-8 text"


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HSM_TEST_SECRET", raising=False)

    assert refusal(file=tmp_path / "none") == f"{tmp_path}/none: No such file or directory"
    assert refusal(env="HSM_TEST_SECRET") == "environment variable HSM_TEST_SECRET is not set"


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(SecretError, match="pipe: not a regular file"):
        read_private_file(tmp_path / "pipe")
    with pytest.raises(SecretError, match="Is a directory"):
        read_private_file(tmp_path)


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    assert len(read_private_file(write(tmp_path, b"x" * MOST_FILE_BYTES))) == MOST_FILE_BYTES
    with pytest.raises(SecretError, match="longer than 65536 bytes"):
        read_private_file(write(tmp_path, b"x" * (MOST_FILE_BYTES + 1)))


def test_the_value_is_in_no_representation(tmp_path: Path) -> None:
    secret = Secret(file=write(tmp_path, b"maplesyrup"))

    for text in (repr(secret), str(secret), str(secret.model_dump()), secret.model_dump_json(), f"{secret!r}"):
        assert "maplesyrup" not in text


def test_a_secret_that_was_changed_is_another_one(tmp_path: Path) -> None:
    """What a new configuration is compared by: the same reference to another value is a change."""
    path = write(tmp_path, b"maplesyrup")
    before, same = Secret(file=path), Secret(file=path)
    path.write_bytes(b"treacle")

    assert before == same
    assert before != Secret(file=path)
