"""`python -m hsm_agent.canary`: started by the agent only, with its pid."""

from hsm_agent.canary.main import main

main()
