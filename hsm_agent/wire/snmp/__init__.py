"""SNMP messages as bytes."""
