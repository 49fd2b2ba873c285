"""`integrations/` is what the code writes, and what it says of the MIB is what the MIB's text says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from hsm_agent.templates import NAMES, write
from hsm_agent.templates.objects import dotted, words_of
from hsm_agent.wire.snmp import mib
from hsm_agent.wire.snmp.mib import Syntax
from tests.fakes.sample_configuration import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.wire.snmp.mib import Column

INTEGRATIONS = ROOT / "integrations"
MIB_TEXT = (ROOT / "mibs" / "HSM-AGENT-MIB.txt").read_text(encoding="utf-8")
DEFAULT = dotted(mib.BASE)
ELSEWHERE = "1.3.6.1.4.1.99999.7"
COLUMNS = [
    *mib.SCALARS,
    *(column for table in mib.TABLES for column in table.columns),
    *mib.ALARM,
]
ENUMERATED = [column for column in COLUMNS if column.syntax is Syntax.ENUMERATION]


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_holds_what_the_verb_writes_for_the_default_base(name: str) -> None:
    written = write(name, DEFAULT)

    held = {path: (INTEGRATIONS / name / path).read_text(encoding="utf-8") for path in written}
    assert held == written, f"run: hsm-agent templates {name} --base {DEFAULT} --to integrations/{name}"


@pytest.mark.parametrize("name", NAMES)
def test_another_base_moves_everything(name: str) -> None:
    there, here = write(name, ELSEWHERE), write(name, DEFAULT)

    assert there.keys() == here.keys()
    assert [path for path, text in there.items() if DEFAULT in text] == []
    assert any(ELSEWHERE in text for text in there.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_base_that_the_mib_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="below enterprises"):
        write(name, "1.2.3")


@pytest.mark.parametrize(
    "folder", sorted(path for path in INTEGRATIONS.iterdir() if path.is_dir()), ids=lambda p: p.name
)
def test_every_folder_says_in_a_few_lines_what_to_do(folder: Path) -> None:
    readme = (folder / "README.md").read_text(encoding="utf-8").splitlines()

    assert readme[0].startswith("# ")
    assert len([line for line in readme[1:] if line.strip()]) <= 16


def enumerations() -> dict[str, dict[int, str]]:
    """The textual conventions of the MIB's text that are enumerations."""
    conventions = re.findall(
        r"^(\w+) ::= TEXTUAL-CONVENTION\n(?:    .*\n)*?    SYNTAX INTEGER \{([^}]*)\}", MIB_TEXT, re.MULTILINE
    )
    return {name: {int(n): word for word, n in re.findall(r"(\w+)\((\d+)\)", body)} for name, body in conventions}


@pytest.mark.parametrize("column", ENUMERATED, ids=lambda column: str(column.name))
def test_the_words_of_an_enumeration_are_those_of_the_mib(column: Column) -> None:
    syntax = re.search(rf"^{column.name} OBJECT-TYPE\n    SYNTAX (\w+)$", MIB_TEXT, re.MULTILINE)

    assert syntax is not None
    assert words_of(column) == enumerations()[syntax[1]]
