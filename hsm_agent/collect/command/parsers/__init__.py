"""Parsers of what shells print. Pure."""
