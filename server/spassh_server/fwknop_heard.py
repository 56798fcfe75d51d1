"""What fwknopd heard, by its PCAP_FILTER: ports and protocols, or something else. Pure.

A filter may be anything that libpcap takes. Here it is read if it is a list of those
things that a packet of fwknop can come by, with `or` between.
"""

import re
from collections.abc import Iterable
from typing import Final

from .transports import HTTP, ICMP, TCP, UDP, Transport

_PORT: Final = re.compile(r"(udp|tcp) (?:dst )?port (\d{1,5})")
_WHOLE: Final = {"udp": Transport(UDP), "icmp": Transport(ICMP)}
_RANGE: Final = re.compile(r"udp (?:dst )?portrange \d{1,5}-\d{1,5}")


def heard_by(expression: str, *, http: bool) -> list[Transport]:
    """Return what a filter lets through; a range of UDP's ports becomes all of them.

    With `http`, requests are looked for in TCP as well as packets.

    Raises:
        ValueError: it is another filter than this reads.
    """
    found: list[Transport] = []
    for one in re.split(r"\s+or\s+", expression.strip()):
        words = " ".join(one.split())
        port = _PORT.fullmatch(words)
        if words in _WHOLE:
            found.append(_WHOLE[words])
        elif _RANGE.fullmatch(words):
            found.append(Transport(UDP))
        elif port and 0 < int(port[2]) < 1 << 16:
            found.append(Transport(port[1], int(port[2])))
            if http and port[1] == TCP:
                found.append(Transport(HTTP, int(port[2])))
        else:
            raise ValueError("is no list of ports and protocols")
    return list(dict.fromkeys(found))


def settings_for(heard: Iterable[Transport]) -> dict[str, str]:
    """Return lines for spasshd.toml: the first UDP port, and all the rest."""
    lines: dict[str, str] = {}
    others: list[str] = []
    for one in heard:
        if one.kind == UDP and one.port and not lines:
            lines["knock_port"] = f"knock_port = {one.port}"
        else:
            others.append(f'"{one}"')
    if others:
        lines["fwknop_transports"] = f"fwknop_transports = [{', '.join(others)}]"
    return lines
