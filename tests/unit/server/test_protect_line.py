"""`protect` in spasshd.toml is changed, and nothing else of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spassh_server.config import parse
from spassh_server.ports import Port
from spassh_server.protect_line import with_protect
from spassh_server.toml import ConfigError

SSH, WEB = Port(6, 22), Port(6, 443)
PATH = "/etc/spassh/spasshd.toml"
COMMAND = '[[command]]\nname = "x"\nargv = ["/bin/true"]\nrun_as = "nobody"\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'protect = ["tcp/22"]\n'),
        ("protect = []\n", 'protect = ["tcp/22"]\n'),
        ("protect=[]", 'protect = ["tcp/22"]'),
        (
            "# mine\n\nprotect = []  # not yet\nlifetime = 9\n",
            '# mine\n\nprotect = ["tcp/22"]  # not yet\nlifetime = 9\n',
        ),
        (
            'protect = [\n  # "tcp/80",]\n]\nlog = "json"\n',
            'protect = ["tcp/22"]\nlog = "json"\n',
        ),
        ("# only this\n", '# only this\nprotect = ["tcp/22"]\n'),
        (f"# head\n\n{COMMAND}", f'# head\n\nprotect = ["tcp/22"]\n{COMMAND}'),
    ],
    ids=["empty", "list", "no-end-of-line", "comment", "lines", "comments", "table"],
)
def test_a_port_is_put_in(before: str, after: str) -> None:
    assert with_protect(before, PATH, [SSH]) == after
    assert parse(after, PATH).protect == (SSH,)


def test_a_port_is_taken_out() -> None:
    text = 'protect = ["tcp/22"]  # shut\n'
    assert with_protect(text, PATH, []) == "protect = []  # shut\n"


def test_what_may_be_granted_stays() -> None:
    text = 'protect = ["tcp/22", "tcp/443"]\n'
    after = with_protect(text, PATH, [WEB])
    assert parse(after, PATH).protect == (WEB,)
    assert parse(after, PATH).grant_ports == (SSH, WEB)


def test_a_text_that_is_too_clever_is_refused_with_the_line_to_write() -> None:
    text = '"protect" = []\n'
    with pytest.raises(ConfigError, match="cannot be changed here") as caught:
        with_protect(text, PATH, [SSH])
    assert caught.value.hint == 'write protect = ["tcp/22"]'


def test_a_port_that_nobody_could_be_granted_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be changed here"):
        with_protect('grant_ports = ["tcp/443"]\n', PATH, [SSH])


def test_a_broken_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        with_protect("protect = [", PATH, [SSH])


@given(
    st.lists(
        st.sampled_from(
            [
                "# protect = []",
                'log = "json"',
                'address = "protect.example"',
                "lifetime = 9 # protect = [1]",
                'interfaces = [\n"eth0",\n# protect = []\n"eth1"]',
                'on_open = ["/bin/x", "protect = [", "\'"]',
                "",
                "protect = ['tcp/443']",
                'protect = ["tcp/443",\n"tcp/22", # ]\n]',
            ]
        ),
        unique_by=lambda line: line.partition("=")[0],
    ),
    st.sampled_from([(), (SSH,), (WEB,), (SSH, WEB)]),
)
def test_whatever_else_the_text_says_stays(
    lines: list[str], ports: tuple[Port, ...]
) -> None:
    text = "\n".join(lines)
    before = parse(text, PATH)
    if not set(ports) <= set(before.grant_ports):
        with pytest.raises(ConfigError):
            with_protect(text, PATH, ports)
        return
    after = with_protect(text, PATH, ports)
    assert parse(after, PATH) == before._replace(protect=ports)
    for line in lines:
        assert line.startswith("protect") or line in after
