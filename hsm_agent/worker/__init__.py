"""The child process that loads one PKCS#11 module and answers questions about it. Standard library only.

`python -m hsm_agent.worker`. It must not import anything else of the package: it is small because it knows little.
"""
