"""fwknopd's files, line by line."""

import pytest

from spassh_server.fwknop_access import (
    MAX_DEPTH,
    MAX_FILES,
    Files,
    Line,
    read_access,
    read_lines,
)
from spassh_server.toml import ConfigError

ACCESS = "/etc/fwknop/access.conf"


def files(**texts: str) -> Files:
    """Return files of /etc/fwknop, whose names have __ for a dot or a slash."""
    found = {
        "/etc/fwknop/" + name.replace("___", "/").replace("__", "."): text
        for name, text in texts.items()
    }

    def names(path: str) -> list[str]:
        start = path.rstrip("/") + "/"
        return [one[len(start) :] for one in found if one.startswith(start)]

    return Files(found.__getitem__, names)


def test_a_line_has_a_variable_and_its_value() -> None:
    text = """
# a comment
   ; another
SOURCE: ANY
  OPEN_PORTS   tcp/22, udp/53 ; # behind it
KEY a key with blanks ;
ENABLE_CMD_EXEC;
LAST"""
    assert read_lines(ACCESS, files(access__conf=text)) == [
        Line(ACCESS, 4, "SOURCE", "ANY"),
        Line(ACCESS, 5, "OPEN_PORTS", "tcp/22, udp/53"),
        Line(ACCESS, 6, "KEY", "a key with blanks"),
        Line(ACCESS, 7, "ENABLE_CMD_EXEC", ""),
        Line(ACCESS, 8, "LAST", ""),
    ]


def test_stanzas_begin_with_their_source() -> None:
    text = "KEY lost\nSOURCE ANY\nKEY a\nSOURCE 192.0.2.1\nKEY b\n"
    stanzas, outside = read_access(ACCESS, files(access__conf=text))
    assert [[line.value for line in one] for one in stanzas] == [
        ["ANY", "a"],
        ["192.0.2.1", "b"],
    ]
    assert outside == [Line(ACCESS, 1, "KEY", "lost")]


def test_what_is_included_stands_where_it_is_included() -> None:
    stanzas, outside = read_access(
        ACCESS,
        files(
            access__conf="SOURCE ANY\n%include_keys keys\nOPEN_PORTS tcp/22\n"
            "%include more.conf\n%include_folder folder\n",
            keys="KEY a\nHMAC_KEY b\n",
            more__conf="SOURCE 192.0.2.1\n",
            folder___b__conf="SOURCE 192.0.2.3\n",
            folder___a__conf="SOURCE 192.0.2.2\n",
            folder___note="SOURCE 192.0.2.4\n",
        ),
    )
    assert outside == []
    assert [one[0].value for one in stanzas] == [
        "ANY",
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
    ]
    keys = "/etc/fwknop/keys"
    assert stanzas[0][1:] == [
        Line(keys, 1, "KEY", "a"),
        Line(keys, 2, "HMAC_KEY", "b"),
        Line(ACCESS, 3, "OPEN_PORTS", "tcp/22"),
    ]


def test_files_that_include_each_other_come_to_an_end() -> None:
    with pytest.raises(ConfigError, match=f"more than {MAX_DEPTH} files deep"):
        read_access(ACCESS, files(access__conf="%include access.conf\n"))


def test_files_that_include_many_come_to_an_end() -> None:
    many = "%include b.conf\n" * 300
    text = {"access__conf": many, "b__conf": many.replace("b.", "c."), "c__conf": ""}
    with pytest.raises(ConfigError, match=f"more than the {MAX_FILES} files"):
        read_access(ACCESS, files(**text))
