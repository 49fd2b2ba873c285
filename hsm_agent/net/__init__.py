"""Sockets: addresses, streams, TLS and UDP."""
