"""`python -m hsm_agent` is the command `hsm-agent`."""

import sys


def main() -> None:
    """The entry point.

    Two verbs go their own way without click: the Nagios plugin starts every few minutes, and the daemon stays.
    """
    match sys.argv[1:]:
        case ["check", *words]:
            from hsm_agent.cli.check import main as check

            sys.exit(check(words))
        case ["run", "-c" | "--config", file] if not file.startswith("-"):
            from pathlib import Path

            from hsm_agent.cli import run

            run(Path(file))
        case _:
            from hsm_agent.cli.main import main as command

            command()


if __name__ == "__main__":
    main()
