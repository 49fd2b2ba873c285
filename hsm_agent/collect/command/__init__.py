"""The source `kind: command`: what an appliance or a tool prints."""
