"""A stanza of ~/.fwknoprc becomes a profile, or is told."""

import re
from pathlib import Path

import pytest
from unit.client.parties import Home

from spassh.errors import ProfileError, SpasshError
from spassh.fwknop_way import Way
from spassh.patterns import Wanted
from spassh.private import MAX_FILE_BYTES
from spassh.profile import Profile, find, parse_profile
from spassh.protocol.fwknop.keys import Keys
from spassh.url import Url
from spassh.verbs import import_fwknop
from spassh.verbs.fwknoprc import CARRIED, DECISIVE, LEFT, convert

KEY = "KEY_BASE64 QUJD\n"
BASIC = f"[gate]\nSPA_SERVER gate.example\n{KEY}"
CLIENT = Path(__file__).parents[3] / ".fwknop" / "usr" / "bin" / "fwknop"


def profiles(text: str) -> tuple[list[Profile], list[str]]:
    """Return the profiles as a login reads them, and what is left."""
    made, left = convert(text, "me")
    read = [parse_profile(f"/{one.name}.toml", one.text) for one in made]
    return read, [str(one) for one in left]


def profile(lines: str) -> Profile:
    (one,), _ = profiles(BASIC + lines)
    assert one.fwknop is not None
    return one


def test_a_stanza_is_a_profile() -> None:
    (one,), left = profiles(BASIC)
    assert one.path == "/gate.example.toml"
    # Where the server is, no name server says of a name that the stanza alone has.
    assert (one.hosts, one.name) == (("gate.example", "gate"), "gate.example")
    assert (one.user, one.port) == ("me", 62201)
    assert one.fwknop is not None
    assert one.fwknop.keys == Keys(b"ABC")
    assert left == []


def test_everything_that_has_a_counterpart_is_carried_over() -> None:
    one = profile(
        "SPA_SERVER_PORT 7\nSPOOF_USER bob\nHMAC_KEY a key;\nUSE_HMAC Y\n"
        "HMAC_DIGEST_TYPE SHA384\nDIGEST_TYPE: MD5\nALLOW_IP 192.0.2.7\n"
        "ACCESS tcp/22\nNAT_ACCESS 10.0.0.5:2222\nSPA_SERVER_PROTO UDP\n"
        "ENCRYPTION_MODE cbc\nVERBOSE N\n"
    )
    assert (one.user, one.port) == ("bob", 7)
    assert one.fwknop is not None
    assert one.fwknop.keys == Keys(b"ABC", b"a key", "sha384")
    assert one.fwknop.digest == "md5"
    assert one.fwknop.address == bytes([192, 0, 2, 7])
    assert (one.fwknop.target, one.fwknop.is_local) == (("10.0.0.5", 2222), False)


@pytest.mark.parametrize(
    ("lines", "target", "is_local"),
    [
        ("NAT_ACCESS 10.0.0.5\nACCESS tcp/443\n", ("10.0.0.5", 443), False),
        ("NAT_ACCESS 10.0.0.5,7\n", ("10.0.0.5", 7), False),
        ("NAT_LOCAL Y\nACCESS tcp/22,tcp/80\n", ("gate.example", 22), True),
        ("NAT_LOCAL Y\n", ("gate.example", 22), True),
        ("NAT_LOCAL N\n", None, False),
    ],
)
def test_nat_leads_where_it_did(
    lines: str, target: tuple[str, int] | None, is_local: bool
) -> None:
    fwknop = profile(lines).fwknop
    assert fwknop is not None
    assert (fwknop.target, fwknop.is_local) == (target, is_local)


MYIP = Url("https", "www.cipherdyne.org", 443, "/cgi-bin/myip")


@pytest.mark.parametrize(
    ("lines", "way"),
    [
        ("", Way()),
        ("SPA_SERVER_PROTO udp\n", Way()),
        ("SPA_SERVER_PROTO TCP\n", Way("tcp")),
        (
            "SPA_SERVER_PROTO http\nHTTP_USER_AGENT a b\n",
            Way("http", False, 0, b"", "a b"),
        ),
        ("SPA_SERVER_PROTO tcpraw\nSPA_SOURCE_PORT 7\n", Way("tcp-raw", False, 7)),
        ("RAND_PORT Y\nHTTP_USER_AGENT ;\n", Way(rand_port=True)),
        ("RAND_PORT N\n", Way()),
        (
            "SPA_SERVER_PROTO icmp\nSPOOF_SOURCE_IP 192.0.2.9\nALLOW_IP 192.0.2.7\n",
            Way("icmp", spoof_source=bytes([192, 0, 2, 9])),
        ),
        ("ALLOW_IP resolve\n", Way(resolve_url=MYIP)),
        ("RESOLVE_IP_HTTPS Y\nALLOW_IP 192.0.2.7\n", Way(resolve_url=MYIP)),
        ("RESOLVE_IP_HTTP Y\n", Way(resolve_url=MYIP)),
        (
            "ALLOW_IP resolve\nRESOLVE_HTTP_ONLY Y\n",
            Way(resolve_url=MYIP._replace(scheme="http", port=80)),
        ),
        (
            (
                "SPA_SERVER_PROTO udpraw\nSPOOF_SOURCE_IP 192.0.2.9\n"
                "ALLOW_IP resolve\nRESOLVE_URL http://a.test/ip\n"
            ),
            Way(
                "udp-raw",
                spoof_source=bytes([192, 0, 2, 9]),
                resolve_url=Url("http", "a.test", 80, "/ip"),
            ),
        ),
        ("RESOLVE_URL a.test\nRESOLVE_IP_HTTPS N\n", Way()),
        (
            "RESOLVE_URL a.test\nRESOLVE_IP_HTTPS Y\n",
            Way(resolve_url=Url("https", "a.test", 443, "/")),
        ),
    ],
)
def test_the_way_of_packets_is_carried_over(lines: str, way: Way) -> None:
    fwknop = profile(lines).fwknop
    assert fwknop is not None
    assert fwknop.way == way
    assert profiles(BASIC + lines)[1] == []


@pytest.mark.parametrize("word", ["source", "SOURCE", "0.0.0.0"])
def test_the_source_of_the_packet_needs_no_line(word: str) -> None:
    fwknop = profile(f"ALLOW_IP {word}\n").fwknop
    assert fwknop is not None
    assert fwknop.address == b""


def test_without_use_hmac_an_hmac_key_is_of_no_use() -> None:
    fwknop = profile("HMAC_KEY k\nUSE_HMAC N\n").fwknop
    assert fwknop is not None
    assert fwknop.keys.hmac == b""


def test_a_passphrase_stays_what_it_is() -> None:
    text = '[a]\nSPA_SERVER a\nKEY a "key" \\ with é\n'
    ((one,), _) = profiles(text)
    assert one.fwknop is not None
    assert one.fwknop.keys.encryption == 'a "key" \\ with é'.encode()


def test_the_default_stanza_is_for_all_the_others() -> None:
    text = f"# a comment\n[default]\nHMAC_KEY h\nSPA_SERVER_PORT 9\n{BASIC}"
    text += f"[other]\nSPA_SERVER 192.0.2.9\nSPA_SERVER_PORT 8\n{KEY}"
    read, left = profiles(text)
    assert [(one.hosts[0], one.port) for one in read] == [
        ("gate.example", 9),
        ("192.0.2.9", 8),
    ]
    assert all(one.fwknop and one.fwknop.keys.hmac == b"h" for one in read)
    assert left == []


def test_the_default_stanza_is_a_server_if_it_names_one_that_no_other_has() -> None:
    default = f"[default]\nSPA_SERVER alone.example\n{KEY}"
    assert [one.hosts for one in profiles(default)[0]] == [("alone.example",)]
    read, _ = profiles(default + BASIC)
    assert [one.hosts[0] for one in read] == ["gate.example", "alone.example"]
    read, left = profiles(default + "[a]\nACCESS tcp/22\n")
    assert [one.hosts for one in read] == [("alone.example", "a")]
    assert left == []


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("SPA_SERVER -x\n", "SPA_SERVER: not a host name"),
        ("SPA_SERVER_PORT many\n", "SPA_SERVER_PORT: is no port"),
        ("SPOOF_USER a b\n", "SPOOF_USER: not a user name"),
        ("NAT_ACCESS a:b\n", "NAT_ACCESS: is no host with a port"),
        ("SPA_SERVER_PROTO sctp\n", "SPA_SERVER_PROTO: is no way of fwknop"),
        ("SPA_SOURCE_PORT many\n", "SPA_SOURCE_PORT: is no port"),
        ("SPA_SOURCE_PORT 65536\n", "SPA_SOURCE_PORT: is no port"),
        ("SPA_SOURCE_PORT \u0661\n", "SPA_SOURCE_PORT: is no port"),
        ("SPOOF_SOURCE_IP 192.0.2.9\n", "SPOOF_SOURCE_IP: takes UDPRAW, TCPRAW or"),
        ("ALLOW_IP nobody\n", "ALLOW_IP: is no IPv4 address"),
        ("HTTP_USER_AGENT \u00e9\n", "HTTP_USER_AGENT: is not 120 printable"),
        (f"HTTP_USER_AGENT {'a' * 121}\n", "HTTP_USER_AGENT: is not 120 printable"),
        *((f"{name} Y\n", f"{name}: {why}") for name, why in DECISIVE.items()),
    ],
)
def test_a_stanza_that_would_knock_in_another_way_is_left_out(
    lines: str, why: str
) -> None:
    read, left = profiles(BASIC + lines)
    assert read == []
    (one,) = left
    assert one.startswith(f"4: {why}")
    assert one.endswith(", so [gate] is left out")


SIGNER, RECIPIENT = "AB" * 20, "01" * 20
GPG = f"USE_GPG Y\nGPG_SIGNER 0x{SIGNER.lower()}\nGPG_RECIPIENT {RECIPIENT}\n"


def test_openpgp_keys_are_carried_over_by_their_fingerprints() -> None:
    one = profile(f"{GPG}HMAC_KEY h\nGPG_NO_SIGNING_PW Y\nUSE_GPG_AGENT Y\n")
    assert one.fwknop is not None
    assert one.fwknop.keys == Keys(b"", b"h")
    assert (one.fwknop.signer, one.fwknop.recipient) == (SIGNER, RECIPIENT)
    lines = GPG + "GPG_SIGNING_PW secret\nGPG_HOMEDIR /x\n"
    _, left = profiles(BASIC + lines)
    home = "GNUPGHOME says where the keys are, and else they are in ~/.gnupg"
    assert left == [
        "7: GPG_SIGNING_PW: gpg asks its agent, which asks for the passphrase",
        f"8: GPG_HOMEDIR: {home}",
    ]


def test_without_use_gpg_openpgp_keys_are_of_no_use() -> None:
    for word in ("", "USE_GPG N\n"):
        one = profile(word + GPG.partition("\n")[2])
        assert one.fwknop is not None
        assert (one.fwknop.keys.encryption, one.fwknop.signer) == (b"ABC", "")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("USE_GPG Y\n", "4: USE_GPG: no GPG_SIGNER for this stanza"),
        (
            f"USE_GPG Y\nGPG_SIGNER {SIGNER}\n",
            "4: USE_GPG: no GPG_RECIPIENT for this stanza",
        ),
        (GPG.replace(SIGNER.lower(), "ABCD1234"), "5: GPG_SIGNER: is no whole"),
        (GPG.replace(RECIPIENT, "--output"), "6: GPG_RECIPIENT: is no whole"),
    ],
)
def test_a_key_that_could_be_another_is_not_carried_over(lines: str, why: str) -> None:
    read, (left,) = profiles(BASIC + lines)
    assert read == []
    assert left.startswith(why)
    assert left.endswith(", so [gate] is left out")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("RAND_PORT Y\n", "5: RAND_PORT: ICMP has no ports"),
        ("SPA_SOURCE_PORT 7\n", "5: SPA_SOURCE_PORT: ICMP has no ports"),
        ("SPOOF_SOURCE_IP 192.0.2.9\n", "5: SPOOF_SOURCE_IP: would be let in itself"),
        (
            "SPOOF_SOURCE_IP ::1\nALLOW_IP 192.0.2.7\n",
            "5: SPOOF_SOURCE_IP: is no IPv4 address",
        ),
        (
            "RESOLVE_URL ftp://a.test/\nALLOW_IP resolve\n",
            "5: RESOLVE_URL: not a URL of http or https",
        ),
    ],
)
def test_a_way_of_icmp_that_fwknop_would_not_take_is_left_out(
    lines: str, why: str
) -> None:
    read, (left,) = profiles(f"{BASIC}SPA_SERVER_PROTO icmp\n{lines}")
    assert read == []
    assert left.startswith(why)


def test_a_stanza_without_a_server_or_a_key_is_left_out() -> None:
    assert profiles(f"[a]\n{KEY}") == (
        [],
        ["2: KEY_BASE64: no SPA_SERVER, so [a] is left out"],
    )
    read, (left,) = profiles("[a]\nSPA_SERVER a\n")
    assert read == []
    assert left.startswith("2: SPA_SERVER: no KEY and no KEY_BASE64")
    assert profiles("[a]\n")[1] == ["0: a: no SPA_SERVER, so [a] is left out"]
    assert profiles("[]\n")[1][0].endswith(", so [without a name] is left out")


def test_of_two_stanzas_for_one_host_the_second_is_called_by_its_name() -> None:
    read, left = profiles(f"[default]\nSPA_SERVER 192.0.2.1\n[a]\n{KEY}[b]\n{KEY}")
    assert [(one.path, one.hosts, one.name) for one in read] == [
        ("/192.0.2.1.toml", ("192.0.2.1", "a"), "192.0.2.1"),
        ("/b.toml", ("b",), "192.0.2.1"),
    ]
    assert left == []


def test_a_second_stanza_for_one_host_whose_name_is_no_hosts_is_left_out() -> None:
    read, left = profiles(BASIC + f"[a b]\nSPA_SERVER Gate.example\n{KEY}")
    assert len(read) == 1
    what = "5: SPA_SERVER: another stanza is for this host, and was taken"
    assert left == [f"{what}, so [a b] is left out"]


def test_nat_leads_to_the_server_also_where_another_stanza_has_its_name() -> None:
    text = f"[again]\nSPA_SERVER gate.example\nNAT_LOCAL Y\n{KEY}"
    _, second = profiles(BASIC + text)[0]
    assert second.fwknop is not None
    assert second.fwknop.target == ("gate.example", 22)


def test_a_line_of_blanks_behind_a_bracket_is_read_in_no_time() -> None:
    """Others hand such files on. With two ways to take a blank, this took an hour."""
    text = "[" + " " * (MAX_FILE_BYTES - 1)
    made, left = convert(text, "me")
    assert (made, list(map(str, left))) == ([], ["1: [: is not known"])


def test_every_other_variable_is_told_with_its_line() -> None:
    for name, why in LEFT.items():
        assert profiles(f"{BASIC}{name} Y\n")[1] == [f"4: {name}: {why}"]
    assert profiles(BASIC + "NEW 1\n")[1] == ["4: NEW: is not known"]


@pytest.mark.skipif(not CLIENT.exists(), reason="fwknop is not unpacked")
def test_every_variable_that_the_client_knows_is_known() -> None:
    """It has their names in it."""
    known = {*CARRIED, *DECISIVE, *LEFT}
    data = CLIENT.read_bytes()
    words = {
        word.decode() for word in re.findall(rb"\0([A-Z][A-Z0-9_]{2,30})(?=\0)", data)
    }
    assert "SPA_SERVER_PORT" in words
    unknown = {word for word in words if "_" in word} - known
    # What is in the environment, and names of digests and modes.
    assert unknown <= {"GPG_AGENT_INFO", "SHA3_256", "SHA3_512"}


# The verb


def write(home: Home, text: str, mode: int = 0o600) -> str:
    path = Path(home.path).parent / "fwknoprc"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_profiles_are_written_for_their_owner_alone(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(home, BASIC + "FW_TIMEOUT 30\n")
    assert import_fwknop.run(file)
    path = home.profiles / "gate.example.toml"
    assert capsys.readouterr().out.splitlines() == [
        f"left: {file}:4: FW_TIMEOUT: spassh knock --for",
        f"wrote {path} for gate.example gate",
        "ssh uses them with these lines in ~/.ssh/config, once for all hosts:",
        "    Host *",
        "        ProxyCommand spassh proxy --fdpass -- %h %p",
        "        ProxyUseFdpass yes",
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    found = find(home.path, Wanted("gate"))
    assert found is not None
    assert found.fwknop is not None


def test_what_is_told_moves_no_cursor(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(home, BASIC + "\x1b[2J y\n")
    assert import_fwknop.run(file)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == rf"left: {file}:4: \x1b[2J: is not known"


def test_a_stanza_that_is_left_out_is_no_success(home: Home) -> None:
    file = write(home, f"{BASIC}[b]\nSPA_SERVER b\n{KEY}KEY_FILE x\n")
    assert not import_fwknop.run(file)
    assert home.names() == ["profiles/gate.example.toml"]


def test_a_profile_that_is_there_stays_and_nothing_is_written(home: Home) -> None:
    file = write(home, f"[a]\nSPA_SERVER a\n{KEY}{BASIC}")
    path = home.profile("gate.example.toml")
    before = path.read_text()
    with pytest.raises(ProfileError, match=r"gate\.example\.toml: is there already"):
        import_fwknop.run(file)
    assert home.names() == ["profiles/gate.example.toml"]
    assert path.read_text() == before


def test_a_host_of_another_profile_is_an_error(home: Home) -> None:
    home.profile("other.toml", hosts='["gate"]')
    with pytest.raises(ProfileError, match="names 'gate' already"):
        import_fwknop.run(write(home, BASIC))


def test_a_key_that_is_none_is_an_error_and_not_told(home: Home) -> None:
    with pytest.raises(ProfileError, match="'key_base64' must be") as caught:
        import_fwknop.run(write(home, BASIC.replace("QUJD", "QUJDRA")))
    assert "QUJDRA" not in str(caught.value) + caught.value.hint
    assert home.names() == []


def test_all_stanzas_that_are_wrong_are_told_with_their_lines(
    home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    there = home.profile("there.toml")
    port = f"[b]\nSPA_SERVER b\nSPA_SERVER_PORT 0\n{KEY}"
    file = write(
        home,
        BASIC.replace("QUJD", "QUJDRA")
        + f"[a]\nSPA_SERVER a\n{KEY}[t]\nSPA_SERVER there\n{KEY}"
        + port,
    )
    with pytest.raises(ProfileError) as caught:
        import_fwknop.run(file)
    assert str(caught.value).startswith(f"{file}:12: SPA_SERVER_PORT: 'port' must be")
    assert "take the stanza out" in caught.value.hint
    told = capfd.readouterr().err.splitlines()
    assert told[0].startswith(f"spassh: error: {file}:3: KEY_BASE64: 'key_base64' must")
    assert told[2] == f"spassh: error: {there}: is there already"
    assert home.names() == ["profiles/there.toml"]


def test_a_file_that_others_can_read_is_not_believed(home: Home) -> None:
    with pytest.raises(ProfileError, match="other users can read"):
        import_fwknop.run(write(home, BASIC, 0o644))


@pytest.mark.parametrize("text", ["", "# nothing\n", "[a]\n"])
def test_a_file_without_a_stanza_is_an_error(home: Home, text: str) -> None:
    with pytest.raises(SpasshError, match="no stanza of"):
        import_fwknop.run(write(home, text))


def test_no_file_is_an_error(home: Home) -> None:
    with pytest.raises(SpasshError, match="cannot read /nowhere/rc: no such file"):
        import_fwknop.run("/nowhere/rc")


def test_the_name_of_who_runs_it_is_the_user(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    import_fwknop.run(write(home, BASIC))
    found = find(home.path, Wanted("gate"))
    assert found is not None
    assert found.user.isdecimal()
