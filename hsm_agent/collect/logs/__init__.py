"""Process logs: text files that a module's software writes, followed and searched for patterns."""
