"""What every child process that loads a vendor's library is made of. Standard library only.

It must not import anything else of the package: `worker` and `canary` are made of it, and are small for a reason.
"""
