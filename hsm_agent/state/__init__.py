"""Small files in the state directory."""
