"""`hsm-agent setup`: from what is installed on a host to a configuration that is proved to reach its receivers."""
