"""Syslog messages and their framing as bytes."""
