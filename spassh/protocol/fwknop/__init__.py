"""The packets of fwknop 2.x and 1.9: bytes to messages and back, without GnuPG.

As pure as the rest of `spassh.protocol`. The client loads nothing of it but for a
profile that says so. ADR 0026 says what is taken and what is refused.
"""
