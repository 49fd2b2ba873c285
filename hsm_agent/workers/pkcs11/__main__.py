"""`python -m hsm_agent.workers.pkcs11`: started by the agent only, with its pid and the page's descriptor."""

from hsm_agent.workers.pkcs11.main import main

main()
