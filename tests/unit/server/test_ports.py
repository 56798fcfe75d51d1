import pytest

from spassh_server.ports import Port, parse_port


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("tcp/22", Port(6, 22)),
        ("udp/53", Port(17, 53)),
        ("tcp/1", Port(6, 1)),
        ("tcp/65535", Port(6, 65535)),
    ],
)
def test_a_port_is_read_and_written_the_same(text: str, port: Port) -> None:
    assert port == parse_port(text)
    assert text == str(port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "22",
        "tcp",
        "tcp/",
        "/22",
        "tcp/0",
        "tcp/65536",
        "tcp/220000",
        "tcp/2200000",
        "tcp/022",
        "tcp/+22",
        "tcp/-22",
        "tcp/ 22",
        "tcp/22 ",
        "tcp/2_2",
        "tcp/0x16",
        "tcp/22/23",
        "tcp/٢٢",
        "tcp/²",
        "TCP/22",
        "sctp/22",
        "tcp:22",
        "ssh",
        "tcp/ssh",
        "tcp/22\n",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a port: .* \(expected tcp/22"):
        parse_port(text)
