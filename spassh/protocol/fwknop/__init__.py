"""The packets of fwknop 2.x and 1.9: bytes to messages and back, symmetric keys only.

As pure as the rest of `spassh.protocol`. Nothing of it is loaded where no profile and
no user has `format = "fwknop"`. ADR 0026 says what is taken and what is refused.
"""
