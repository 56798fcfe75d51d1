"""URLs of http and https: a host, a port and a path."""

import pytest

from spassh.protocol.errors import TextFormError
from spassh.url import Url, parse_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a.test", Url("http", "a.test", 80, "/")),
        ("https://a.test/", Url("https", "a.test", 443, "/")),
        ("http://192.0.2.1:8080/ip?a=b:c", Url("http", "192.0.2.1", 8080, "/ip?a=b:c")),
        ("https://a-b_c.test:65535//x", Url("https", "a-b_c.test", 65535, "//x")),
    ],
)
def test_it_is_read(text: str, url: Url) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        *("", "a.test", "http:/a.test", "http://", "http:///ip", "ftp://a.test/"),
        *("HTTP://a.test/", "file:///etc/passwd", "http://-a.test", "http://.a.test"),
        *("http://alice@a.test/", "http://[::1]/", "http://a.test:0/"),
        *("http://a.test:65536/", "http://a.test:/", "http://a.test:8o/"),
        *("http://a.test:\u0661/", "http://a.test/a b", "http://a.test/\r\nHost: b"),
        *("http://a.test/\x7f", "http://a.test/#a", "http://\u00e4.test/"),
        *("http://a.test/" + "x" * 1000, "http://" + "a" * 254),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(TextFormError):
        parse_url(text)
