"""The child process that loads one PKCS#11 module and answers questions about it. Standard library only.

`python -m hsm_agent.workers.pkcs11`. It imports nothing of the package but hsm_agent.workers: it is small because it
knows little.
"""
