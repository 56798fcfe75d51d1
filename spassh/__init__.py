"""Single Packet Authorization as a plugin for the SSH you already use: the client."""

__version__ = "0.1.0"
