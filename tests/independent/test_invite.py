"""Two implementations of sealed invites: each opens what the other seals."""

from independent import invite as independent
from vectors.generate import worked_example
from vectors.generate.common import CLIENT, CLIENT_SECRET, PSK, SERVER

from spassh.protocol.invite import Invite
from spassh.protocol.sealed_invite import decode_sealed, open_sealed, seal_invite

INVITE = Invite(
    "alice", "host.example", 62201, SERVER.public, PSK, CLIENT.public, CLIENT_SECRET
)
BODY = independent.body(
    "alice", "host.example", 62201, SERVER.public, PSK, CLIENT_SECRET
)


def test_both_seal_to_the_text_of_the_specification() -> None:
    example = worked_example.texts()[-1]
    assert example.startswith("spassh-sealed-1-")
    passphrase, salt = worked_example.PASSPHRASE, worked_example.SALT
    assert independent.seal(BODY, passphrase, salt) == example
    assert seal_invite(INVITE, passphrase, salt) == example
    assert open_sealed(decode_sealed(example), passphrase) == INVITE


def test_each_opens_what_the_other_has_sealed_with_letters_of_any_kind() -> None:
    salt = bytes(16)
    ours = seal_invite(INVITE, "na\u00efve \u65e5\u672c", salt)
    assert independent.unseal(ours, "nai\u0308ve \u65e5\u672c") == BODY
    theirs = independent.seal(BODY, "nai\u0308ve \u65e5\u672c", salt)
    assert open_sealed(decode_sealed(theirs), "na\u00efve \u65e5\u672c") == INVITE
