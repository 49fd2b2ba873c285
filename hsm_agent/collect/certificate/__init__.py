"""The source `kind: certificate`: when certificates end."""
