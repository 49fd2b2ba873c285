"""The child process that makes the canary's signature, through python-pkcs11. It knows one PIN and nothing else.

`python -m hsm_agent.workers.canary`. It must not import anything else of the package.
"""
