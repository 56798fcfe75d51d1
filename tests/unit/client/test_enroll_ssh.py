"""The ssh program: what it is given, and how much is taken from it."""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.client.fake_ssh import FakeSsh

from spassh.errors import SpasshError, UsageError
from spassh.ui import silent
from spassh.verbs.ssh import MAX_OUTPUT, Done, Ssh, Target, parse_target


def ssh(target: Target = Target("server.example")) -> Ssh:  # noqa: B008 - immutable
    return Ssh(target, lambda: 0.0, silent)


@pytest.mark.parametrize(
    ("text", "port", "target"),
    [
        ("server", "", Target("server")),
        ("root@server", "2222", Target("server", "root", 2222)),
        ("ann@corp.example@server", "", Target("server", "ann@corp.example")),
        ("root@2001:db8::1", "65535", Target("2001:db8::1", "root", 65535)),
    ],
)
def test_a_target_is_read_as_ssh_reads_it(text: str, port: str, target: Target) -> None:
    assert parse_target(text, port) == target


@pytest.mark.parametrize(
    ("text", "port", "message"),
    [
        ("-oProxyCommand=x", "", "not a host: -oProxyCommand=x"),
        ("root@-x", "", "not a host: -x"),
        ("", "", "not a host: "),
        ("root@", "", "not a host: "),
        ("two words", "", "not a host: two words"),
        ("a;b", "", "not a host: a;b"),
        ("$(x)", "", "not a host: $(x)"),
        ("@server", "", "not a login: "),
        ("-l@server", "", "not a login: -l"),
        ("a b@server", "", "not a login: a b"),
        ("a\nb@server", "", "not a login: a\nb"),
        ("server", "0", "not a port: 0"),
        ("server", "65536", "not a port: 65536"),
        ("server", "ssh", "not a port: ssh"),
        ("server", "-1", "not a port: -1"),
        ("server", "²", "not a port: ²"),
    ],
)
def test_what_ssh_could_take_for_something_else_is_refused(
    text: str, port: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text, port)
    assert str(caught.value) == message


def test_ssh_gets_login_and_port_as_options_and_the_host_behind_all(
    fake_ssh: FakeSsh,
) -> None:
    fake_ssh.answer("hello\n", "oh\n", 3)
    done = ssh(Target("server.example", "root", 2222)).run("env", "A=b", stdin=b"x\n")
    assert done == Done(3, "hello\n", "oh\n")
    (told,) = fake_ssh.told
    assert told["stdin"] == "x\n"
    argv = told["argv"]
    assert argv[argv.index("--") + 1 :] == ["server.example", "env A=b"]
    assert argv[argv.index("-p") + 1] == "2222"
    assert argv[argv.index("-l") + 1] == "root"
    # Who has to type a password has a terminal.
    assert not any("BatchMode" in word for word in argv)


def test_what_is_not_said_is_left_to_ssh(fake_ssh: FakeSsh) -> None:
    fake_ssh.settings(hostname="192.0.2.1", user="ann", port="2222")
    settings = ssh().settings()
    assert settings == ("192.0.2.1", "ann", 2222, "")
    (told,) = fake_ssh.told
    assert not {"-p", "-l"} & set(told["argv"])


@pytest.mark.parametrize("port", ["0", "65536", "-1", "22x", "٢٢", "2" * 5000])
def test_a_port_that_is_none_is_not_believed(fake_ssh: FakeSsh, port: str) -> None:
    fake_ssh.settings(port=port)
    with pytest.raises(SpasshError, match=r"^ssh cannot say how it reaches "):
        ssh().settings()


@pytest.mark.parametrize(
    ("key", "command", "is_ours"),
    [
        ("proxycommand", "spassh proxy --fdpass -- %h %p", True),
        ("proxycommand", "/opt/spassh/bin/spassh proxy %h %p", True),
        ("proxycommand", "nc %h %p", False),
        ("proxycommand", "spasshx proxy", False),
        ("proxyjump", "bastion.example", False),
    ],
)
def test_the_proxy_of_ssh_is_ours_or_not(
    fake_ssh: FakeSsh, key: str, command: str, is_ours: bool
) -> None:
    fake_ssh.settings(**{key: command})
    settings = ssh().settings()
    assert settings.proxy == command
    assert settings.goes_through_spassh is is_ours


@pytest.mark.parametrize(
    "word", ["a b", "a;b", "$x", "`x`", "'", '"', "a\nb", "", "*", "~", "a&", "#x", "é"]
)
def test_a_word_that_a_shell_could_change_is_never_sent(
    fake_ssh: FakeSsh, word: str
) -> None:
    with pytest.raises(ValueError, match="a shell would not take"):
        ssh().run("echo", word)
    assert fake_ssh.told == []


@pytest.mark.parametrize("sizes", [(MAX_OUTPUT + 1, 0), (0, MAX_OUTPUT + 1)])
def test_a_server_that_does_not_stop_talking_is_left(
    fake_ssh: FakeSsh, sizes: tuple[int, int]
) -> None:
    output, errors = sizes
    fake_ssh.answer("x" * output, "y" * errors)
    with pytest.raises(SpasshError, match="more than 65536 bytes of output"):
        ssh().run("env")


def test_as_much_as_is_allowed_is_taken(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer("x" * MAX_OUTPUT, "y" * MAX_OUTPUT)
    done = ssh().run("env")
    assert len(done.output) == len(done.errors) == MAX_OUTPUT


def test_a_server_that_says_nothing_is_left_after_a_minute(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer(hangs=True)
    # The second look at the clock is more than a minute after the first.
    clock = itertools.count(0, 61).__next__
    with pytest.raises(SpasshError, match="not done after 60 s"):
        Ssh(Target("server.example"), clock, silent).run("env")


def test_a_session_is_one_login_and_ends(fake_ssh: FakeSsh) -> None:
    one = ssh()
    fake_ssh.answer()
    with one.session():
        one.run("env")
        directory = os.path.dirname(one._control)
        assert Path(directory).stat().st_mode & 0o077 == 0
    login, command, end = fake_ssh.told
    assert {"-f", "-N", "ControlMaster=yes"} <= set(login["argv"])
    assert command["over_session"]
    assert end["argv"][-4:-2] == ["-O", "exit"]
    assert not os.path.exists(directory)


def test_a_login_does_not_wait_for_ever_for_a_port_that_is_shut(
    fake_ssh: FakeSsh,
) -> None:
    with ssh().session():
        pass
    assert "ConnectTimeout=20" in fake_ssh.told[0]["argv"]


def test_a_login_goes_through_spassh_if_it_is_told_so(fake_ssh: FakeSsh) -> None:
    one = ssh()
    one.go_through("/opt/spassh")
    fake_ssh.settings()
    assert not one.settings().goes_through_spassh, "that is what ssh itself would do"
    with one.session():
        pass
    proxy = "ProxyCommand=/opt/spassh proxy -- %h %p"
    found = [proxy in told["argv"] for told in fake_ssh.told]
    assert found == [False, True, False]


def test_a_session_ends_whatever_happens(fake_ssh: FakeSsh) -> None:
    with pytest.raises(KeyboardInterrupt), ssh().session():
        raise KeyboardInterrupt
    assert fake_ssh.is_over()


def test_a_login_that_fails_is_told_once(fake_ssh: FakeSsh) -> None:
    fake_ssh.set(login_status=255)
    with pytest.raises(SpasshError, match="ssh does not get in"), ssh().session():
        pytest.fail("there is no session")
    assert len(fake_ssh.told) == 1


def test_a_connection_that_is_lost_is_told(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer("", "Connection closed\n", 255)
    with pytest.raises(SpasshError, match="failed: Connection closed"):
        ssh().run("env")


def quiet(clock: Callable[[], float] = lambda: 0.0, deadline: float = 100) -> Ssh:
    """Return an ssh that must not ask the user for anything."""
    target = Target("server.example")
    return Ssh(target, clock, silent, asks=False, deadline=deadline)


def test_who_must_not_be_asked_is_not(fake_ssh: FakeSsh) -> None:
    one = quiet()
    fake_ssh.answer("1000\n")
    with one.session():
        assert one.run("date", "-u", "+%s").output == "1000\n"
    login, *_, end = fake_ssh.told
    assert all("BatchMode=yes" in told["argv"] for told in fake_ssh.told)
    assert {"-f", "-N", "ControlMaster=yes"} <= set(login["argv"])
    assert end["argv"][-4:-2] == ["-O", "exit"]


def test_a_quiet_login_that_fails_says_why_without_a_terminal(
    fake_ssh: FakeSsh, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_ssh.set(login_status=255, login_errors="x\nPermission denied (publickey).\n")
    with pytest.raises(SpasshError) as caught, quiet().session():
        pytest.fail("there is no session")
    expected = "ssh to server.example failed: Permission denied (publickey)."
    assert str(caught.value) == expected
    assert capfd.readouterr().err == ""


def test_a_quiet_login_that_hangs_is_ended(fake_ssh: FakeSsh) -> None:
    fake_ssh.set(login_hangs=True)
    with (
        pytest.raises(SpasshError, match="not done after 0 s"),
        quiet(deadline=0.1).session(),
    ):
        pytest.fail("there is no session")


def test_a_command_has_no_more_time_than_there_is(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer(hangs=True)
    with pytest.raises(SpasshError, match="not done after 0 s"):
        quiet(time.monotonic, time.monotonic() + 0.2).run("env")


def test_a_session_ends_even_if_there_is_no_time_left(fake_ssh: FakeSsh) -> None:
    now = [0.0]
    one = quiet(lambda: now[0])
    with one.session():
        now[0] = 101.0
    assert fake_ssh.is_over()


def test_a_connection_that_is_shared_is_used_and_not_ended(fake_ssh: FakeSsh) -> None:
    one = quiet()
    assert not one.is_shared()
    fake_ssh.answer()
    one.run("env")
    assert any("ControlPath=none" in word for word in fake_ssh.told[-1]["argv"])
    fake_ssh.set(shared_status=0)
    assert one.is_shared()
    fake_ssh.answer()
    one.run("env")
    assert not any("ControlPath" in word for word in fake_ssh.told[-1]["argv"])


def test_ssh_explains_where_it_has_its_settings_from(fake_ssh: FakeSsh) -> None:
    fake_ssh.set(story="debug1: Reading configuration data /x\ndebug1: more\n")
    fake_ssh.settings(proxyusefdpass="yes")
    values, story = ssh().explained()
    assert values["proxyusefdpass"] == "yes"
    assert story == ["debug1: Reading configuration data /x", "debug1: more"]
    assert {"-v", "-G"} <= set(fake_ssh.told[-1]["argv"])
