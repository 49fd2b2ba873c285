"""Monitoring agent for hardware security modules. Importing the package does nothing: workers rely on it."""
