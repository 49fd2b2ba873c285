"""Who could change a file: owners, modes, folders on the way, links, access lists."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from hsm_agent.settings.trust import UntrustedError, refuse_untrusted, trusted_uids
from tests.peers.rights import needs_root
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from pathlib import Path

OWN = trusted_uids(trusting())


def _file(path: Path, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("", encoding="utf-8")
    path.chmod(mode)
    return path


def _refusal(path: Path, uids: frozenset[int] = OWN) -> str:
    with pytest.raises(UntrustedError) as caught:
        refuse_untrusted(path, uids)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "uids"),
    [
        pytest.param("", {0}, id="nobody but root"),
        pytest.param("1000", {0, 1000}, id="one"),
        pytest.param("1000, 1001", {0, 1000, 1001}, id="two"),
    ],
)
def test_root_and_those_who_are_named_are_trusted(text: str, uids: set[int]) -> None:
    assert trusted_uids({"HSM_AGENT_TRUSTED_UIDS": text}) == uids


@pytest.mark.parametrize("text", ["root", "-1", "1000;1001", "1.0"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HSM_AGENT_TRUSTED_UIDS"):
        trusted_uids({"HSM_AGENT_TRUSTED_UIDS": text})


def test_a_file_of_a_trusted_user_below_folders_of_trusted_users_is_trusted(tmp_path: Path) -> None:
    refuse_untrusted(_file(tmp_path / "a" / "b"), OWN)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        pytest.param(0o646, "can be written by others; run: chmod o-w", id="others"),
        pytest.param(0o666, "can be written by others; run: chmod o-w", id="everybody"),
    ],
)
def test_a_file_that_others_can_write_is_not(tmp_path: Path, mode: int, said: str) -> None:
    path = _file(tmp_path / "module.so", mode)
    assert _refusal(path) == f"{path} {said} {path}"


@needs_root
def test_a_group_may_write_only_if_it_is_roots(tmp_path: Path) -> None:
    path = _file(tmp_path / "module.so", 0o664)
    refuse_untrusted(path, OWN)

    os.chown(path, 0, 4711)
    assert _refusal(path) == f"{path} can be written by group 4711; run: chmod g-w {path}"


@needs_root
def test_an_access_list_behind_roots_group_is_seen(tmp_path: Path) -> None:
    path = _file(tmp_path / "module.so", 0o644)
    undefined = 2**32 - 1
    entries = [(0x01, 6, undefined), (0x02, 6, 4711), (0x04, 4, undefined), (0x10, 6, undefined), (0x20, 4, undefined)]
    access_list = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", access_list)
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")

    assert "can be written by group 0" in _refusal(path)


@needs_root
@pytest.mark.parametrize("what", ["a", "a/b", "a/b/module.so"])
def test_whoever_owns_anything_on_the_way_could_change_it(tmp_path: Path, what: str) -> None:
    path = _file(tmp_path / "a" / "b" / "module.so")
    os.chown(tmp_path / what, 4711, 0)

    assert f"{tmp_path / what} belongs to user 4711, who is not trusted" in _refusal(path)
    refuse_untrusted(path, OWN | {4711})


def test_a_folder_that_others_can_write_is_not_trusted_but_for_a_sticky_one(tmp_path: Path) -> None:
    path = _file(tmp_path / "a" / "module.so")
    path.parent.chmod(0o777)
    assert _refusal(path) == f"{path.parent} can be written by others; run: chmod o-w {path.parent}"

    path.parent.chmod(0o1777)
    refuse_untrusted(path, OWN)


@needs_root
def test_in_a_sticky_folder_what_belongs_to_others_is_not_trusted_links_included(tmp_path: Path) -> None:
    target = _file(tmp_path / "lib" / "module.so")
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    link = sticky / "module.so"
    link.symlink_to(target)
    refuse_untrusted(link, OWN)

    os.chown(link, 4711, 4711, follow_symlinks=False)
    assert f"{link} belongs to user 4711" in _refusal(link)


def test_where_a_link_leads_is_what_counts(tmp_path: Path) -> None:
    target = _file(tmp_path / "lib" / "real" / "module.so")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "relative").symlink_to("../lib/real")
    (tmp_path / "etc" / "absolute").symlink_to(target)
    refuse_untrusted(tmp_path / "etc" / "relative" / "module.so", OWN)
    refuse_untrusted(tmp_path / "etc" / "absolute", OWN)

    target.parent.chmod(0o757)
    for path in (tmp_path / "etc" / "relative" / "module.so", tmp_path / "etc" / "absolute"):
        assert _refusal(path).startswith(f"{target.parent} can be written by others")


def test_two_dots_behind_a_link_lead_up_from_where_it_leads(tmp_path: Path) -> None:
    path = _file(tmp_path / "far" / "module.so", 0o646)
    (tmp_path / "far" / "below").mkdir()
    (tmp_path / "near").mkdir()
    _file(tmp_path / "near" / "module.so")
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far" / "below")

    assert _refusal(tmp_path / "near" / "link" / ".." / "module.so").startswith(f"{path} can be written by others")


def test_links_that_lead_round_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert "leads through more than 40 symbolic links" in _refusal(tmp_path / "a")


def test_what_is_missing_is_missing_once_the_way_to_it_is_trusted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        refuse_untrusted(tmp_path / "gone" / "module.so", OWN)

    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert "can be written by others" in _refusal(tmp_path / "open" / "gone" / "module.so")


@pytest.mark.parametrize("through_a_link", [False, True])
def test_what_is_missing_where_anybody_may_make_it_is_not_trusted(tmp_path: Path, *, through_a_link: bool) -> None:
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    link = tmp_path / "link"
    link.symlink_to(sticky / "vendor" / "module.so")

    said = _refusal(link if through_a_link else sticky / "vendor" / "module.so")
    assert said == f"{sticky / 'vendor'} does not exist, and others can make one in {sticky}"

    (sticky / "vendor").mkdir()
    with pytest.raises(FileNotFoundError):
        refuse_untrusted(sticky / "vendor" / "module.so", OWN)


def _script(path: Path, first_line: str) -> Path:
    path.write_text(f"{first_line}\n", encoding="ascii")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("first_line", ["#!{}", "#! {} -e", "#!\t{}"])
def test_what_runs_a_script_is_looked_at_as_the_script_is(tmp_path: Path, first_line: str) -> None:
    interpreter = _file(tmp_path / "lib" / "shell")
    script = _script(tmp_path / "check", first_line.format(interpreter))
    refuse_untrusted(script, OWN)

    interpreter.chmod(0o757)
    assert _refusal(script).startswith(f"{interpreter} can be written by others")

    script.chmod(0o644)
    refuse_untrusted(script, OWN)  # nobody runs it


def test_what_runs_what_runs_a_script_is_looked_at_too(tmp_path: Path) -> None:
    shell = _file(tmp_path / "shell", 0o757)
    wrapper = _script(tmp_path / "wrapper", f"#!{shell}")

    assert _refusal(_script(tmp_path / "check", f"#!{wrapper}")).startswith(f"{shell} can be written by others")


def test_a_script_that_runs_itself_is_refused(tmp_path: Path) -> None:
    assert "more than 5 times" in _refusal(_script(tmp_path / "check", f"#!{tmp_path / 'check'}"))


@pytest.mark.parametrize("first_line", ["#!", "# no script", ""])
def test_what_names_no_interpreter_has_none(tmp_path: Path, first_line: str) -> None:
    refuse_untrusted(_script(tmp_path / "check", first_line), OWN)


def test_a_missing_interpreter_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        refuse_untrusted(_script(tmp_path / "check", f"#!{tmp_path / 'gone'}"), OWN)
