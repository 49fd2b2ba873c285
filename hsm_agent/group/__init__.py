"""Agents on several hosts that watch the same HSMs as one: who leads, what it commits, how the others follow."""
