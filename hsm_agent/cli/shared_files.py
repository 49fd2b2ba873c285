"""What a package installs below `share` and a checkout keeps there: made from the code and the documentation.

`python -m hsm_agent.cli.shared_files CHECKOUT` writes it all; scripts/share calls it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hsm_agent.cli.command_line import verb_words
from hsm_agent.cli.completion import completion
from hsm_agent.cli.main import cli
from hsm_agent.cli.manual import pages
from hsm_agent.cli.options import SCHEMA_NAME
from hsm_agent.config.schema import schema

COMPLETIONS = {"bash": "completions/hsm-agent", "fish": "completions/hsm-agent.fish", "zsh": "completions/_hsm-agent"}


def shared_files(checkout: Path) -> dict[str, str]:
    """Every file by its path below `share`. Reads the documentation of a checkout."""
    top = verb_words(cli)
    documents = {path.name: path.read_text(encoding="utf-8") for path in (checkout / "docs").glob("*.md")}
    scripts = {path: completion(shell, top) for shell, path in COMPLETIONS.items()}
    described = json.dumps(schema(documents["configuration.md"]), indent=1, ensure_ascii=False)
    return {**scripts, **pages(top, documents), f"schema/{SCHEMA_NAME}": f"{described}\n"}


def main(checkout: Path) -> None:
    """Write them."""
    for name, text in shared_files(checkout).items():
        path = checkout / "share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
