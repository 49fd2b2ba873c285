"""Child processes that load a vendor's library. Standard library only (the canary's: python-pkcs11 besides).

They import nothing else of the package, so that they stay small; `test_layout` holds them to it.
"""
