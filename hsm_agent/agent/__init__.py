"""The running agent: its parts, its life as a process, and what its operator asks of it."""
