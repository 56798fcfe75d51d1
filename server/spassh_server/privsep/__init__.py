"""Two programs: the listener reads the network, the granter writes the firewall."""
