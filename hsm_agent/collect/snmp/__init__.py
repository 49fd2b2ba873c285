"""The source `kind: snmp`: appliances that are read by their own SNMP agents."""
