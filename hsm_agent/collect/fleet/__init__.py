"""A fleet of agents, by what each publishes of itself in etcd."""
