"""`python -m hsm_agent.workers.canary`: started by the agent only, with its pid."""

from hsm_agent.workers.canary.main import main

main()
