"""A user's file is a user within the configuration, or a `ConfigError`; keys come off.

A key that is added to what can be read is there afterwards, and can be taken out again.
"""

from collections.abc import Iterator

from unit.server.fwknop_parties import TABLE
from unit.server.parties import CLIENT_PSK, CONFIG

from spassh_server.key_tables import end_keys, key_table, with_key, without_key
from spassh_server.toml import ConfigError
from spassh_server.users import User, Users, parse_user

_PATH = "/etc/spassh/users.d/ada.toml"
_CONFIG = CONFIG._replace(fwknop=True)
_PUBLIC = bytes(range(128, 160))
_KEY = key_table(_PUBLIC, CLIENT_PSK, invite=True, expires=1_767_225_600_000)
_EVERYTHING = f"""\
ports = ["tcp/22"]
lifetime = 10
max_lifetime = 20
sources = ["192.0.2.0/24", "2001:db8::/32"]
any_address = true
widths = ["flow", "once"]
expires = 2027-01-01
not_before = 2026-01-01T00:00:00Z
# A comment.
{_KEY.replace("E", "A")}{TABLE}"""


def seeds() -> Iterator[tuple[str, bytes]]:
    yield "key", _KEY.encode()
    yield "everything", _EVERYTHING.encode()
    yield "fwknop", TABLE.encode()


def check(data: bytes) -> None:
    text = data.decode("utf-8", "ignore")
    try:
        user = _parsed(text)
    except ConfigError:
        return
    assert user.ports <= set(_CONFIG.grant_ports)
    assert 0 < user.lifetime <= user.max_lifetime <= _CONFIG.max_lifetime
    Users([user])
    _change(text, user)


def _change(text: str, user: User) -> None:
    try:
        more = _parsed(with_key(text, _KEY))
    except ConfigError:
        return  # The key is there, or the file ends within a spelling of its own.
    assert more.keys[:-1] == user.keys
    assert more.keys[-1].public == _PUBLIC
    try:
        ended = _parsed(end_keys(with_key(text, _KEY), 1_800_000_000_000))
        less = _parsed(without_key(with_key(text, _KEY), len(more.all_keys) - 1))
    except (ConfigError, IndexError):
        return  # Whoever changes a file reads it again before it is written.
    assert len(ended.keys) == len(more.keys)
    assert len(less.all_keys) == len(more.all_keys) - 1


def _parsed(text: str) -> User:
    return parse_user("ada", text, _PATH, _CONFIG)
