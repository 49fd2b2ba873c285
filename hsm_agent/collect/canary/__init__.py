"""The source `kind: canary`: a signature now and then, made in a process of its own."""
