"""Keys for packets of fwknop in a user's file."""

import pytest
from unit.server.fwknop_parties import (
    BY_GNUPG,
    HMAC_KEY_BASE64,
    KEY_BASE64,
    KEYS,
    OTHER_SIGNER,
    SIGNER,
    TABLE,
    UNAUTHENTICATED,
    fwknop_user,
    gnupg_user,
    packet,
)
from unit.server.parties import CONFIG, NOW, key, key_table

from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.openpgp import Hmac
from spassh_server.fwknop_keys import FwknopGnupgKey, FwknopKey
from spassh_server.limits import MAX_FWKNOP_KEYS, MAX_KEYS_PER_USER
from spassh_server.toml import ConfigError
from spassh_server.users import User, Users, lax_keys, parse_user, shared_problems

PATH = "/etc/spassh/users.d/ada.toml"
WITH_FWKNOP = CONFIG._replace(fwknop=True)


def read(text: str) -> User:
    return parse_user("ada", text, PATH, WITH_FWKNOP)


def table(*lines: str) -> str:
    return "\n".join(['[[key]]\nformat = "fwknop"', *lines, ""])


def test_keys_of_both_formats_may_be_there_in_any_order() -> None:
    ada = read(key_table(1) + TABLE + key_table(2))
    assert ada.keys == (key(1), key(2))
    assert ada.fwknop == (FwknopKey(KEYS),)
    assert ada.all_keys == (key(1), key(2), FwknopKey(KEYS))
    assert read(TABLE).keys == ()


def test_a_native_key_may_say_what_it_is() -> None:
    text = key_table(1).replace("[[key]]\n", '[[key]]\nformat = "native"\n')
    assert read(text) == read(key_table(1))


def test_passphrases_are_keys_as_well() -> None:
    ada = read(table('key = "enc pass"', 'hmac_key = "hmac pass"'))
    assert ada.fwknop == (FwknopKey(Keys(b"enc pass", b"hmac pass")),)


@pytest.mark.parametrize("digest", DIGESTS)
def test_each_digest_has_the_name_of_fwknop(digest: str) -> None:
    text = table('key = "e"', 'hmac_key = "h"', f'hmac_digest_type = "{digest}"')
    assert read(text).fwknop[0].keys == Keys(b"e", b"h", digest)


def test_an_end_is_read() -> None:
    assert read(TABLE + "expires = 2026-01-01\n").fwknop[0].expires == NOW


def test_a_key_without_an_hmac_or_of_1_9_has_to_be_asked_for_by_name() -> None:
    """The security claim: neither is ever the default, nor comes with the other."""
    with pytest.raises(ConfigError, match="hmac_key: is missing") as caught:
        read(table('key = "e"'))
    assert "allow_unauthenticated = true" in caught.value.hint
    with pytest.raises(ConfigError, match="hmac_key: is missing"):
        read(table('key = "e"', "legacy = true"))
    lax = read(table('key = "e"', "allow_unauthenticated = true")).fwknop[0]
    assert lax.keys == Keys(b"e")
    old = read(table('key = "e"', 'hmac_key = "h"', "legacy = true")).fwknop[0]
    assert old.keys == Keys(b"e", b"h", legacy=True)


def test_each_lax_key_is_warned_of() -> None:
    ada = read(
        table('key = "a"', "allow_unauthenticated = true")
        + table('key = "b"', 'hmac_key = "h"', "legacy = true")
        + table('key = "c"', "legacy = true", "allow_unauthenticated = true")
        + TABLE
    )
    begin = "a key of ada takes packets of fwknop without"
    assert lax_keys([ada, fwknop_user("bob")]) == [
        f"{begin} an HMAC",
        f"{begin} the key derivation of fwknop 2",
        f"{begin} an HMAC and the key derivation of fwknop 2",
    ]


# By GnuPG

GNUPG = f'gnupg = ["{SIGNER}"]'


def test_a_key_by_gnupg_is_an_hmac_and_whose_signatures_are_good() -> None:
    spelled = f"{SIGNER[:4]} {SIGNER[4:].lower()}"
    ada = read(table(f'gnupg = ["{spelled}", "{OTHER_SIGNER}"]', 'hmac_key = "h"'))
    assert ada.fwknop == ()
    signers = frozenset({SIGNER, OTHER_SIGNER})
    assert ada.fwknop_gnupg == (FwknopGnupgKey(Hmac(b"h"), signers),)
    assert ada.all_keys == ada.fwknop_gnupg
    lines = ('hmac_key = "h"', 'hmac_digest_type = "md5"', "legacy = true")
    one = read(table(GNUPG, *lines) + "expires = 2026-01-01\n").fwknop_gnupg[0]
    assert one == FwknopGnupgKey(Hmac(b"h", "md5"), frozenset({SIGNER}), True, NOW)


def test_without_an_hmac_strangers_start_gpg_so_it_has_to_be_asked_for_by_name() -> (
    None
):
    with pytest.raises(ConfigError, match="hmac_key: is missing") as caught:
        read(table(GNUPG))
    assert "strangers have gpg look" in caught.value.hint
    with pytest.raises(ConfigError, match="hmac_key: is missing"):
        read(table(GNUPG, "legacy = true"))
    lax = read(table(GNUPG, "allow_unauthenticated = true"))
    assert lax.fwknop_gnupg == (UNAUTHENTICATED,)
    old = read(table(GNUPG, "allow_unauthenticated = true", "legacy = true"))
    begin = "a key of ada takes packets of fwknop without"
    assert lax_keys([lax, old, gnupg_user("bob")]) == [
        f"{begin} an HMAC",
        f"{begin} an HMAC and the one spelling of fwknop 2",
    ]


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["gnupg = []"], "gnupg: expected a list of fingerprints"),
        (['gnupg = "x"'], "gnupg: expected a list of strings"),
        (['gnupg = ["ABCD"]'], "gnupg: expected a list of fingerprints"),
        ([f"gnupg = {['A' * 40] * 17}".replace("'", '"')], "gnupg: more than 16"),
        ([GNUPG, 'key = "e"'], "gnupg: there is a key as well"),
        ([GNUPG, f'key_base64 = "{KEY_BASE64}"'], "gnupg: there is a key as well"),
    ],
)
def test_a_mistake_with_gnupg_is_told(lines: list[str], what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(table(*lines, 'hmac_key = "h"'))
    assert str(caught.value).startswith(f"{PATH}:3: {what}")


def test_an_hmac_has_one_user_and_without_it_a_signer_has() -> None:
    """Else it would be chance whose limits hold."""
    for one in (BY_GNUPG, UNAUTHENTICATED):
        users = Users([gnupg_user(n, fwknop_gnupg=(one,)) for n in ("ada", "bob")])
        assert users.duplicates == [("bob", "ada")]
        assert [user.name for _, user in users.fwknop_gnupg] == ["ada"]
    other = UNAUTHENTICATED._replace(signers=frozenset({OTHER_SIGNER}))
    keys = {"ada": BY_GNUPG, "bob": UNAUTHENTICATED, "cyn": other}
    users = Users([gnupg_user(n, fwknop_gnupg=(its,)) for n, its in keys.items()])
    assert users.duplicates == []
    wanted = [(BY_GNUPG.hmac, SIGNER), (Hmac(), SIGNER), (Hmac(), OTHER_SIGNER)]
    found = [users.owner_of_message(hmac, signer) for hmac, signer in wanted]
    assert [its and its[1].name for its in found] == ["ada", "bob", "cyn"]
    assert users.owner_of_message(Hmac(b"x"), SIGNER) is None
    # The HMAC says whose it is. Whether the signature is good is another question.
    found_by_hmac = users.owner_of_message(BY_GNUPG.hmac, OTHER_SIGNER)
    assert found_by_hmac == (BY_GNUPG, users.by_name["ada"])


def test_a_key_by_gnupg_is_listed_once() -> None:
    for lax in ('hmac_key = "h"', "allow_unauthenticated = true"):
        with pytest.raises(ConfigError, match="format: is listed twice"):
            read(table(GNUPG, lax) * 2)
    both = read(table(GNUPG, 'hmac_key = "h"') + table('key = "e"', 'hmac_key = "h"'))
    assert (len(both.fwknop), len(both.fwknop_gnupg)) == (1, 1)


def test_keys_by_gnupg_count_among_all_that_are_bounded() -> None:
    keys = tuple(
        FwknopGnupgKey(Hmac(b"%d" % number), frozenset({SIGNER}))
        for number in range(MAX_FWKNOP_KEYS)
    )
    users = Users([fwknop_user("bob"), gnupg_user(fwknop_gnupg=keys)])
    assert len(users.fwknop) + len(users.fwknop_gnupg) == MAX_FWKNOP_KEYS
    assert users.untried == ["ada"]


def test_a_passphrase_of_1_9_may_be_longer() -> None:
    long = 'key = "' + "x" * 128 + '"'
    assert len(read(table(long, "legacy = true", 'hmac_key = "h"')).fwknop[0].keys[0])
    with pytest.raises(ConfigError, match="key: has 128 bytes, and not 1 to 32"):
        read(table(long, 'hmac_key = "h"'))


@pytest.mark.parametrize(
    ("lines", "line", "what"),
    [
        (['hmac_key = "h"'], 1, "key: is missing, and so is key_base64"),
        (['key = "e"', f'key_base64 = "{KEY_BASE64}"'], 3, "key: key_base64 is there"),
        (['key_base64 = "QQ"', 'hmac_key = "h"'], 3, "key_base64: not base64"),
        (
            ['key = "e"', f'hmac_key_base64 = "{HMAC_KEY_BASE64[:-1]}"'],
            4,
            "hmac_key_base64: not base64",
        ),
        (['key = "e"', 'hmac_key = "' + "h" * 137 + '"'], 4, "hmac_key: has 137 bytes"),
        (['key = "e"', "hmac_key = 7"], 4, "hmac_key: expected a string"),
        (
            ['key = "e"', 'hmac_key = "h"', 'hmac_digest_type = "SHA256"'],
            5,
            "hmac_digest_type: expected one of md5, sha1",
        ),
        (
            ['key = "e"', 'hmac_key = "h"', "allow_unauthenticated = true"],
            5,
            "allow_unauthenticated: there is an HMAC key",
        ),
        (['key = "e"', 'hmac_key = "h"', "legacy = 1"], 5, "legacy: expected true"),
        (['key = "e"', 'hmac_key = "h"', 'psk = "x"'], 5, "psk: unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_no_secret(
    lines: list[str], line: int, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(table(*lines))
    assert str(caught.value).startswith(f"{PATH}:{line}: {what}")
    assert KEY_BASE64 not in str(caught.value) + caught.value.hint


def test_a_format_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ConfigError, match="format: expected one of native, fwknop"):
        read('[[key]]\nformat = "knockd"\n')


def test_where_the_capture_passes_no_packet_of_fwknop_a_key_for_it_is_an_error() -> (
    None
):
    with pytest.raises(ConfigError, match="packets of fwknop are not taken") as caught:
        parse_user("ada", TABLE, PATH, CONFIG)
    assert "fwknop = true" in caught.value.hint


def test_a_key_is_listed_once() -> None:
    with pytest.raises(ConfigError, match="format: is listed twice"):
        read(TABLE + TABLE)


def test_all_keys_together_are_bounded() -> None:
    tables = [table(f'key = "{n}"', 'hmac_key = "h"') for n in range(MAX_KEYS_PER_USER)]
    assert len(read("".join(tables)).fwknop) == MAX_KEYS_PER_USER
    with pytest.raises(ConfigError, match="more than"):
        read("".join(tables) + key_table(1))


def test_a_key_has_one_user() -> None:
    """Who has it first keeps it: else it would be chance whose limits hold."""
    users = Users([fwknop_user("ada"), fwknop_user("bob")])
    assert users.duplicates == [("bob", "ada")]
    assert [(key.keys, user.name) for key, user in users.fwknop] == [(KEYS, "ada")]
    assert users.fwknop_keyring.open(packet()).number == 0


def test_no_packet_of_a_stranger_is_tried_with_more_keys_than_are_bounded() -> None:
    def mine(number: int) -> tuple[FwknopKey, ...]:
        return (FwknopKey(Keys(b"%d" % number, b"h")),)

    everybody = [
        fwknop_user(f"u{number}", fwknop=mine(number))
        for number in range(MAX_FWKNOP_KEYS + 2)
    ]
    users = Users(everybody)
    assert len(users.fwknop) == MAX_FWKNOP_KEYS
    late = [f"u{MAX_FWKNOP_KEYS}", f"u{MAX_FWKNOP_KEYS + 1}"]
    assert users.untried == late
    problems = shared_problems(users, "/{}.toml".format)
    assert [str(one) for one in problems] == [
        f"/{name}.toml: key: there are more than 256 keys for packets of fwknop"
        for name in late
    ]
    assert Users(everybody[:-2]).untried == []
