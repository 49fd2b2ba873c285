"""The SNMP agent: its tables and its answers."""
