"""`python -m hsm_agent` is the command `hsm-agent`."""

import sys


def main() -> None:
    """The entry point. The Nagios plugin goes its own way: it starts every few minutes and needs no library of ours."""
    if sys.argv[1:2] == ["check"]:
        from hsm_agent.cli.check_arguments import main as check  # noqa: PLC0415

        sys.exit(check(sys.argv[2:]))
    from hsm_agent.cli.main import main as command  # noqa: PLC0415

    command()


if __name__ == "__main__":
    main()
