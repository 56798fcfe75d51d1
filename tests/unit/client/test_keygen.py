import stat
from pathlib import Path

import pytest
from unit.client.parties import CLIENT, Home

from spassh.errors import ProfileError, SpasshError
from spassh.profile import load_own_key
from spassh.protocol.crypto import PrivateKey
from spassh.protocol.keys import PUBLIC, encode_key
from spassh.verbs.keygen import run


def test_the_public_half_alone_is_printed(
    home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    run()
    public = PrivateKey(load_own_key(home.path)).public
    assert capfd.readouterr() == (encode_key(PUBLIC, public) + "\n", "")


def test_only_the_user_can_read_the_key(home: Home) -> None:
    run()
    assert stat.S_IMODE(home.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(home.path).stat().st_mode) == 0o700
    assert home.names() == ["key"]


def test_a_key_is_never_overwritten_and_its_public_half_is_told(home: Home) -> None:
    before = home.write_key().read_bytes()
    with pytest.raises(ProfileError) as caught:
        run()
    public = encode_key(PUBLIC, CLIENT)
    assert str(caught.value) == f"{home.key}: there is a key already: {public}"
    assert caught.value.hint == f"to make another: mv {home.key} {home.key}.old"
    assert home.key.read_bytes() == before
    assert home.names() == ["key"]


def test_not_even_a_broken_one_is_overwritten(home: Home) -> None:
    home.write_key("not a key")
    with pytest.raises(ProfileError, match="not a key"):
        run()
    assert home.key.read_text() == "not a key"


def test_a_link_to_nowhere_is_not_followed(home: Home, tmp_path: Path) -> None:
    Path(home.path).mkdir()
    home.key.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ProfileError):
        run()
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_cannot_be_made_is_told(home: Home) -> None:
    Path(home.path).write_text("")
    with pytest.raises(SpasshError, match=r"^cannot write "):
        run()
