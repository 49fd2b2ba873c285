"""Audit trails: their formats, the chain of their hashes, and the source that follows them."""
