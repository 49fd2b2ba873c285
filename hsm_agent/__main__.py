"""`python -m hsm_agent` is the command `hsm-agent`."""

from hsm_agent.cli.main import main

if __name__ == "__main__":
    main()
