"""Syslog over UDP, TCP, TLS and RELP."""
