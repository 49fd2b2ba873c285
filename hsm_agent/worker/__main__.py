"""`python -m hsm_agent.worker`: started by the agent only, with its pid and the page's descriptor."""

from hsm_agent.worker.main import main

main()
