"""What AWS tells of CloudHSM clusters, by its API; needs the extra `aws`."""
