"""Which argument lists a command allows, and which patterns there are."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spassh_server.commands import (
    LETTERS,
    MAX_VALUE,
    Command,
    check_argv,
    describe,
    match,
    parse_pattern,
    spell,
)


def command(
    *argv: str, name: str = "it", patterns: Mapping[str, str] | None = None
) -> Command:
    parsed = tuple((key, parse_pattern(text)) for key, text in (patterns or {}).items())
    assert set(check_argv(argv)) == {key for key, _ in parsed}
    return Command(name, argv, parsed, "nobody", 30)


UPTIME = command("/usr/bin/uptime", name="uptime")
RESTART = command(
    "/usr/bin/systemctl",
    "restart",
    "{unit}",
    name="restart",
    patterns={"unit": "[a-z0-9-]{1,32}"},
)


def allows(one: Command, *argv: str) -> bool:
    return match([one], argv) is one


class TestMatch:
    def test_takes_exact_words(self) -> None:
        assert allows(UPTIME, "/usr/bin/uptime")
        assert not allows(UPTIME, "/usr/bin/uptime", "")
        assert not allows(UPTIME, "/usr/bin/uptime", "-p")
        assert not allows(UPTIME, "/usr/bin/uptime ")
        assert not allows(UPTIME, "/usr/bin//uptime")
        assert not allows(UPTIME, "uptime")
        assert not allows(UPTIME)

    def test_takes_a_word_that_the_pattern_fits(self) -> None:
        systemctl = "/usr/bin/systemctl"
        assert allows(RESTART, systemctl, "restart", "nginx")
        assert allows(RESTART, systemctl, "restart", "a" * 32)
        assert not allows(RESTART, systemctl, "restart", "a" * 33)
        assert not allows(RESTART, systemctl, "restart")
        assert not allows(RESTART, systemctl, "restart", "nginx", "nginx")
        assert not allows(RESTART, systemctl, "stop", "nginx")
        assert not allows(RESTART, "/bin/sh", "restart", "nginx")

    @pytest.mark.parametrize(
        "word",
        [
            "",
            "-",
            "--now",
            "-H",
            "nginx\n",
            "\nnginx",
            "nginx php",
            "nginx;id",
            "$(id)",
            "{unit}",
            "nginx\0",
            "ng\u0131nx",
            "\uff4eginx",
            "nginx\u0661",
            "NGINX",
            "..",
        ],
    )
    def test_refuses_what_is_not_in_the_set(self, word: str) -> None:
        assert not allows(RESTART, "/usr/bin/systemctl", "restart", word)

    def test_a_placeholder_may_be_a_part_of_a_word(self) -> None:
        one = command(
            "/bin/x", "--unit={unit}.service", patterns={"unit": "[a-z]{1,9}"}
        )
        assert allows(one, "/bin/x", "--unit=nginx.service")
        assert not allows(one, "/bin/x", "--unit=.service")
        assert not allows(one, "/bin/x", "--unit=nginx.socket")
        assert not allows(one, "/bin/x", "--unit=nginx.service.service")
        assert not allows(one, "/bin/x", "--unit.service")

    def test_the_text_around_a_placeholder_does_not_overlap(self) -> None:
        one = command("/bin/x", "aba{v}bab", patterns={"v": "b|[a-z]{1,9}"})
        assert not allows(one, "/bin/x", "abab")
        assert not allows(one, "/bin/x", "ababab")
        assert allows(one, "/bin/x", "abacbab")

    def test_every_placeholder_has_its_own_pattern(self) -> None:
        one = command(
            "/bin/x", "{a}", "{b}", patterns={"a": "one|two", "b": "[0-9]{1,3}"}
        )
        assert allows(one, "/bin/x", "two", "007")
        assert not allows(one, "/bin/x", "007", "two")

    @pytest.mark.parametrize(
        "word", ["/srv/..", "/srv/../etc", "/srv/a/../../etc", "/srv/a/.."]
    )
    def test_no_word_leads_to_a_directory_above(self, word: str) -> None:
        for argv in ("/srv/{path}", "/srv{path}"):
            one = command("/bin/x", argv, patterns={"path": "[a-z./]{1,99}"})
            assert allows(one, "/bin/x", "/srv/a/b..c")
            assert not allows(one, "/bin/x", word)

    def test_no_value_leads_to_a_directory_above(self) -> None:
        one = command("/bin/x", "--in={path}", patterns={"path": "[a-z./]{1,99}"})
        assert allows(one, "/bin/x", "--in=a/b")
        assert not allows(one, "/bin/x", "--in=../b")

    def test_text_and_value_together_do_not_lead_above_either(self) -> None:
        one = command("/bin/x", "/srv/.{path}", patterns={"path": "[a-z./]{1,99}"})
        assert allows(one, "/bin/x", "/srv/.a")
        assert not allows(one, "/bin/x", "/srv/../etc")

    def test_a_hyphen_comes_first_only_if_the_pattern_writes_it(self) -> None:
        one = command("/bin/x", "{v}", patterns={"v": "-v|--n=[0-9]{1,2}|[-a]{1,4}"})
        for word in ("-v", "--n=7", "a-a"):
            assert allows(one, "/bin/x", word)
        for word in ("-", "-a", "--", "--n=", "-n"):
            assert not allows(one, "/bin/x", word)

    def test_the_first_that_allows_it_wins(self) -> None:
        also = UPTIME._replace(name="also", run_as="root")
        assert match([RESTART, UPTIME, also], ["/usr/bin/uptime"]) is UPTIME
        assert match([], ["/usr/bin/uptime"]) is None

    def test_a_value_is_bounded_whatever_the_pattern_says(self) -> None:
        one = command("/bin/x", "{v}", patterns={"v": "a[a]{256}"})
        assert not allows(one, "/bin/x", "a" * (MAX_VALUE + 1))

    @given(st.lists(st.text(max_size=40), max_size=5))
    def test_it_takes_any_words(self, words: list[str]) -> None:
        assert match([RESTART], words) is None or (
            words[:2] == ["/usr/bin/systemctl", "restart"]
            and re.fullmatch("[a-z0-9][a-z0-9-]{0,31}", words[2], re.ASCII) is not None
        )


texts = st.text("abz09_/", max_size=3)
ranges = {"a-z": "abz", "0-9": "09", "A-Z": "AZ", "_": "_", "/": "/", "b-b": "b"}


@st.composite
def choices(draw: st.DrawFn) -> tuple[str, str]:
    """Draw one alternative of a pattern, and a value that it fits."""
    before, after = draw(texts), draw(texts)
    if draw(st.booleans()):
        return f"{before}a", f"{before}a"
    inside = draw(st.lists(st.sampled_from(list(ranges)), min_size=1, max_size=4))
    least = draw(st.integers(1, 3))
    most = draw(st.integers(least, 5))
    length = draw(st.sampled_from([f"{{{most}}}", f"{{{least},{most}}}"]))
    letters = "".join(ranges[one] for one in inside)
    value = draw(st.text(letters, min_size=most, max_size=most))
    return f"{before}[{''.join(inside)}]{length}{after}", f"{before}{value}{after}"


@given(
    st.lists(choices(), min_size=1, max_size=3),
    st.lists(st.text("abz09_/A:!é\n", max_size=9), max_size=20),
)
def test_a_pattern_means_what_the_regular_expression_means(
    drawn: list[tuple[str, str]], values: list[str]
) -> None:
    text = "|".join(one for one, _ in drawn)
    pattern = parse_pattern(text)
    fitting = [value for _, value in drawn]
    assert all(map(pattern.fits, fitting))
    for value in (*values, *(one[1:] for one in fitting)):
        expected = re.fullmatch(text, value, re.ASCII) is not None
        assert pattern.fits(value) is expected, value


@pytest.mark.parametrize(
    ("text", "fits", "not_fits"),
    [
        ("nginx|php-fpm", ["nginx", "php-fpm"], ["", "nginx|php-fpm", "php", "nginxx"]),
        ("a.b", ["a.b"], ["axb"]),
        ("[a-c]{2}", ["ab", "cc"], ["a", "abc", "ad"]),
        ("[-a]{1,2}", ["a", "a-"], ["-", "-a", "b"]),
        ("[a-]{1,2}", ["a", "a-"], ["-a"]),
        ("[a-cx-z0-9_]{1}", ["b", "y", "5", "_"], ["d", "-", "A"]),
        (
            "web-[0-9]{1,2}.example",
            ["web-1.example"],
            ["web-.example", "web-1xexample"],
        ),
        ("[a-z]{256}", ["a" * 256], ["a" * 255, "a" * 257]),
    ],
)
def test_a_pattern(text: str, fits: list[str], not_fits: list[str]) -> None:
    pattern = parse_pattern(text)
    assert pattern.text == text
    assert [value for value in fits if not pattern.fits(value)] == []
    assert [value for value in not_fits if pattern.fits(value)] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an alternative is empty"),
        ("a||b", "an alternative is empty"),
        ("a|", "an alternative is empty"),
        ("(a+)+", "'(' cannot be in a pattern"),
        ("a*", "'*' cannot be in a pattern"),
        (".*", "'*' cannot be in a pattern"),
        ("^a$", "'^' cannot be in a pattern"),
        ("\\w", "'\\' cannot be in a pattern"),
        ("two words", "' ' cannot be in a pattern"),
        ("é", "'é' cannot be in a pattern"),
        ("[a-z]", "'[a-z]' is not text with at most one set"),
        ("[a-z]+", "'[a-z]+' is not text with at most one set"),
        ("[a-z]{1,}", "is not text with at most one set"),
        ("[a-z]{,9}", "is not text with at most one set"),
        ("[a-z]{1,2}[a-z]{1,2}", "is not text with at most one set"),
        ("[[a]]{1}", "is not text with at most one set"),
        ("a{3}", "is not text with at most one set"),
        ("[a-z]{0,3}", "a length is {LEAST,MOST}, from 1 to 256"),
        ("[a-z]{3,2}", "a length is {LEAST,MOST}"),
        ("[a-z]{257}", "a length is {LEAST,MOST}"),
        ("[a-z]{1,1000}", "more than 256 letters"),
        (f"[a-z]{{{'9' * 5000}}}", "more than 256 letters"),
        ("[a-z]{1,٣}", "is not text with at most one set"),
        ("[]{1}", "[] is empty"),
        ("[^a]{1}", "'^' cannot be in a pattern"),
        ("[\\d]{1}", "'\\' cannot be in a pattern"),
        ("[z-a]{1}", "[z-a]: the range z-a is empty"),
        ("[A-z]{1}", "[A-z]: a range is like a-z, A-Z or 0-9"),
        ("[+--]{1}", "[+--]: a range"),
        ("[ -~]{1}", "[ -~]: a range"),
        ("[a-z-9]{1}", "[a-z-9]: a range"),
        ("[a;]{1}", "';' cannot be in a pattern"),
        ("a\n", "'\n' cannot be in a pattern"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_is_no_pattern_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_pattern(text)


@given(st.text("ab-z09[]{},|^.é", max_size=20))
def test_any_text_is_a_pattern_or_told(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except ValueError:
        return
    for choice in pattern.choices:
        assert choice.letters <= LETTERS
        assert len(choice.before) + choice.least + len(choice.after) > 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "expected the absolute path of a program"),
        (("ls",), "expected the absolute path of a program"),
        (("",), "expected the absolute path of a program"),
        (("/usr/bin/",), "expected the absolute path of a program"),
        (("/usr/bin/{name}",), "expected the absolute path of a program"),
        (("{program}",), "expected the absolute path of a program"),
        (("/bin/x", "a\nb"), "'a\\nb' is not printable"),
        (("/bin/x", "{}"), "'{}': braces are for one placeholder"),
        (("/bin/x", "{a}{b}"), "'{a}{b}': braces are for one placeholder"),
        (("/bin/x", "{a"), "'{a': braces are for one placeholder"),
        (("/bin/x", "a}"), "'a}': braces are for one placeholder"),
        (("/bin/x", "}a{b}"), "'}a{b}': braces are for one placeholder"),
        (("/bin/x", "{a}}"), "'{a}}': braces are for one placeholder"),
        (("/bin/x", "{A}"), "'{A}': braces are for one placeholder"),
        (("/bin/x", "{a b}"), "'{a b}': braces are for one placeholder"),
        (("/bin/x", "{a}", "{a}"), "{a} is there twice"),
        (("/bin/x",) * 65, "more than 64 words"),
    ],
    ids=str,
)
def test_an_argument_list_that_is_none_is_told(
    argv: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_argv(argv)


def test_an_argument_list_is_spelled_as_a_shell_would_take_it() -> None:
    assert spell(["/bin/x", "{unit}", "", "a b", "it's"]) == (
        """/bin/x {unit} '' 'a b' 'it'"'"'s'"""
    )


def test_a_command_is_described_in_one_line() -> None:
    assert describe(UPTIME) == "uptime: /usr/bin/uptime (as nobody, at most 30 s)"
    assert describe(RESTART) == (
        "restart: /usr/bin/systemctl restart {unit}"
        " (as nobody, at most 30 s, unit = [a-z0-9-]{1,32})"
    )
