"""The source `kind: pkcs11`: the parent's side of a module that is loaded in a worker process."""
