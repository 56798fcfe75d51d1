"""The spassh packet: bytes to requests and back, without I/O, clock or randomness.

Both programs import this package; it imports nothing of theirs. docs/PROTOCOL.md is
its specification, and the section numbers in comments refer to that document.
"""
