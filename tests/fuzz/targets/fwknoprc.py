"""Each stanza of .fwknoprc is a profile that is TOML, or it is told why not.

No value can make a line of its own in a profile.
"""

import tomllib
from collections.abc import Iterator

from spassh.errors import ProfileError
from spassh.profile import parse_profile
from spassh.verbs.fwknoprc import convert

_KEYS = {
    *("hosts", "user", "format", "port", "key", "key_base64", "hmac_key"),
    *("hmac_key_base64", "hmac_digest_type", "digest_type", "allow_ip"),
    *("nat_access", "nat_local", "gnupg_key", "gnupg_server"),
    *("transport", "spoof_source", "http_user_agent", "rand_port", "source_port"),
    *("resolve_url", "name"),
}


def seeds() -> Iterator[tuple[str, bytes]]:
    text = (
        "[default]\nSPA_SERVER_PORT 62201\n[server.example]\n"
        "SPA_SERVER 192.0.2.1\nKEY_BASE64 AAECAw==\nHMAC_KEY_BASE64: AAECAw==\n"
        "ACCESS tcp/22\nNAT_ACCESS 10.0.0.5:22\nSPOOF_USER bob # no comment\n"
        "[old]\nSPA_SERVER = old.example\nKEY secret\nENCRYPTION_MODE legacy\n"
    )
    yield "stanzas", text.encode()
    gpg = f"GPG_SIGNER {'2B' * 20}\nGPG_RECIPIENT {'3C' * 20}\n"
    yield "gnupg", f"[a]\nSPA_SERVER a\nUSE_GPG Y\n{gpg}HMAC_KEY k\n".encode()
    way = "SPA_SERVER_PROTO HTTP\nUSER_AGENT x\nRAND_PORT Y\nALLOW_IP resolve\n"
    yield "way", f"[a]\nSPA_SERVER a\nKEY k\nHTTP_USER_AGENT y\n{way}".encode()
    yield "default", b"[default]\nSPA_SERVER a\nKEY k\nALLOW_IP resolve\nUSE_HMAC N\n"


def check(data: bytes) -> None:
    made, left = convert(data.decode("utf-8", "ignore"), "ada")
    assert len({one.name for one in made}) == len(made)
    assert all(str(one) for one in left)
    for one in made:
        assert tomllib.loads(one.text).keys() <= _KEYS
        try:
            profile = parse_profile(f"/{one.name}.toml", one.text)
        except ProfileError:
            continue  # The verb reads it as well, before it writes any.
        assert profile.hosts == one.hosts
