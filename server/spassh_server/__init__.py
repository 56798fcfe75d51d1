"""The daemon that watches the wire for spassh datagrams and opens the firewall."""
