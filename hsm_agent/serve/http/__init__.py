"""Metrics, status and health over HTTP."""
