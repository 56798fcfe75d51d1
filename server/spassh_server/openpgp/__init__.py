"""OpenPGP messages by gpg, in a program of its own: ADR 0027."""
