"""Each stanza of access.conf is a user, or it is told why not, or a `ConfigError`.

No value can make a line of its own in a user's file. The first byte chooses between
access.conf and fwknopd.conf.
"""

import tomllib
from collections.abc import Iterator

from unit.server.test_fwknop_import import BASIC, CONF

from spassh_server.config import parse
from spassh_server.events import printable
from spassh_server.fwknop_access import Files, read_access, read_lines
from spassh_server.fwknop_import import import_conf, import_stanzas
from spassh_server.toml import ConfigError
from spassh_server.users import parse_user

_KEYS = {
    *("ports", "lifetime", "max_lifetime", "sources", "any_address", "expires"),
    *("key", "commands", "forwards", "widths", "not_before", "invite"),
}


def seeds() -> Iterator[tuple[str, bytes]]:
    more = (
        "OPEN_PORTS tcp/22, udp/53\nFW_ACCESS_TIMEOUT 60;\nREQUIRE_USERNAME bob\n"
        "ACCESS_EXPIRE 12/31/2027\nRESTRICT_PORTS tcp/22\nHMAC_DIGEST_TYPE sha512\n"
    )
    yield "stanza", b"\0" + (BASIC + more).encode()
    yield "source", b"\0SOURCE 192.0.2.7/24, 10.0.0.0/8\nKEY x\nACCESS_EXPIRE_EPOCH 9"
    yield "include", b"\0%include a.conf\n%include_folder b\n"
    yield "conf", b"\1PCAP_INTF eth0;\nPCAP_FILTER udp port 62201;\nX y\n"


def check(data: bytes) -> None:
    text = data[1:].decode("utf-8", "ignore")
    if data[:1] and data[0] % 2:
        _conf(text)
    else:
        _access(text)


def _access(text: str) -> None:
    files = Files(lambda path: text if path == "access.conf" else "", lambda _: ["a"])
    try:
        stanzas = read_access("access.conf", files)
    except ConfigError:
        return
    users, left = import_stanzas(*stanzas, CONF.grant_ports, 300)
    assert all(printable(str(one)).isprintable() for one in left)
    for user in users:
        assert tomllib.loads(user.text).keys() <= _KEYS
        config = CONF._replace(
            grant_ports=(*CONF.grant_ports, *user.ports), max_lifetime=10**7
        )
        try:
            made = parse_user(user.name, user.text, f"{user.name}.toml", config)
        except ConfigError:
            continue  # The verb reads it as well, before it writes any.
        assert set(user.ports) <= made.ports | set(CONF.grant_ports)


def _conf(text: str) -> None:
    lines = read_lines("fwknopd.conf", Files(lambda _: text, lambda _: []))
    wanted, left = import_conf(lines)
    assert all(printable(str(one)).isprintable() for one in left)
    for key, line in wanted.items():
        assert tomllib.loads(line).keys() == {key}
        try:
            parse(line, "/etc/spassh/spasshd.toml")
        except ConfigError:
            continue
