"""Types of configuration values."""
