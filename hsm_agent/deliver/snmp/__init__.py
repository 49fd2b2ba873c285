"""SNMP traps and informs."""
