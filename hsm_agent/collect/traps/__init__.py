"""The source `kind: snmp_trap_listener`: what appliances tell by themselves."""
