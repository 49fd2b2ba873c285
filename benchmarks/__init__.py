"""Measurements: each figure is a ratio to a peer in the same run, or a time of a said kind. Nothing passes or fails.

`python -m benchmarks` (`scripts/bench`) prints them; docs/performance.md explains them.
"""
