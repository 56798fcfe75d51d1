"""The way of a packet: who does what until a login gets through, and after."""

from html import escape

from .login import Login
from .svg import SANS, document, element

_WIDTH = 900
_LANES = {"stranger": 70, "client": 235, "firewall": 455, "listener": 640, "sshd": 815}
_HEADS = {
    "stranger": ("anybody", "scans, replays"),
    "client": ("ssh", "and spassh proxy"),
    "firewall": ("the kernel", "default drop"),
    "listener": ("spasshd", "two programs"),
    "sshd": ("sshd", "as it is"),
}
_TOP = 78
_DARK, _GREY, _RED, _GREEN, _BLUE = (
    "#1f2328",
    "#6e7781",
    "#cf222e",
    "#1a7f37",
    "#0969da",
)
_SMALL, _NORMAL = 12, 13


def render(title: str, login: Login) -> str:
    """Return the picture of `login`."""
    y = _TOP + 34
    parts = [_arrow("stranger", "firewall", y, _RED, "TCP to port 22", "no answer")]
    parts.append(_cross("firewall", y))
    y += 58
    knock = f"1 UDP packet, {login.size} bytes"
    parts.append(_arrow("client", "firewall", y, _BLUE, knock, "encrypted, once"))
    parts.append(_cross("firewall", y))
    parts.append(_time("client", y, 0))
    parts.append(_arrow("firewall", "listener", y + 22, _GREY, "libpcap sees it"))
    y += 50
    box = (
        "listener: no privileges",
        "decrypt, replay, policy",
        "granter: checks again",
    )
    parts.append(_box("listener", y - 12, box))
    y += 66
    parts.append(_arrow("listener", "firewall", y, _GREEN, "grant"))
    parts.append(_time("listener", y, login.granted, "at most "))
    granted = (login.grant.split(" from ")[0], f"from port {login.grant.split()[-1]}")
    parts.append(_box("firewall", y + 12, granted, _GREEN))
    y += 92
    parts.append(_arrow("client", "sshd", y, _BLUE, "TCP to port 22"))
    parts.append(_time("client", y, login.syn))
    y += 34
    parts.append(_arrow("sshd", "client", y, _BLUE, "accepted"))
    parts.append(_time("sshd", y, login.accepted))
    y += 34
    parts.append(_arrow("sshd", "client", y, _BLUE, "SSH-2.0 …"))
    parts.append(_time("sshd", y, login.banner))
    y += 46
    end = f"{login.lifetime} s later the kernel ends the grant by itself"
    parts.append(_note("firewall", y, end, "sessions that are open live on"))
    height = y + 40
    lanes = [_lane(name, height - 16) for name in _LANES]
    return document(
        title,
        _WIDTH,
        height,
        element("rect", width="100%", height="100%", rx=8, fill="#ffffff"),
        element("g", "\n", *(f"{one}\n" for one in lanes + parts), font_family=SANS),
    )


def _lane(name: str, bottom: float) -> str:
    x = _LANES[name]
    first, second = _HEADS[name]
    return (
        _text(x, 34, first, _DARK, size=16, font_weight="bold")
        + _text(x, 54, second, _GREY)
        + element(
            "line", x1=x, x2=x, y1=66, y2=bottom, stroke="#d0d7de", stroke_width=2
        )
    )


def _arrow(begin: str, end: str, y: float, color: str, *words: str) -> str:
    """Draw an arrow with words above it, and perhaps below."""
    x1, x2 = _LANES[begin], _LANES[end]
    step = 9 if x2 > x1 else -9
    head = f"M {x2} {y} l {-step} -5 v 10 z"
    middle = (x1 + x2) / 2
    return (
        element("line", x1=x1, x2=x2, y1=y, y2=y, stroke=color, stroke_width=2)
        + element("path", d=head, fill=color)
        + _text(middle, y - 6, words[0], color)
        + "".join(_text(middle, y + 16, one, _GREY) for one in words[1:])
    )


def _cross(name: str, y: float) -> str:
    x = _LANES[name]
    return element(
        "path",
        d=f"M {x - 6} {y - 6} l 12 12 m 0 -12 l -12 12",
        stroke=_RED,
        stroke_width=3,
    )


def _time(name: str, y: float, milliseconds: float, before: str = "") -> str:
    side = 12 if name in {"sshd", "listener"} else -12
    anchor = "start" if side > 0 else "end"
    text = f"{before}{milliseconds:.1f} ms"
    return _text(_LANES[name] + side, y + 4, text, _DARK, anchor=anchor)


def _box(name: str, y: float, lines: tuple[str, ...], color: str = _GREY) -> str:
    x, width = _LANES[name], 172
    height = 10 + 17 * len(lines)
    return element(
        "rect",
        x=x - width / 2,
        y=y,
        width=width,
        height=height,
        rx=5,
        fill="#f6f8fa",
        stroke=color,
    ) + "".join(
        _text(x, y + 18 + 17 * at, line, _DARK) for at, line in enumerate(lines)
    )


def _note(name: str, y: float, first: str, second: str) -> str:
    x, width = _LANES[name], 320
    return (
        element("rect", x=x - width / 2, y=y - 18, width=width, height=44, fill="#fff")
        + _text(x, y, first, _GREEN)
        + _text(x, y + 18, second, _GREY)
    )


def _text(
    x: float,
    y: float,
    text: str,
    color: str,
    *,
    size: int = _SMALL,
    anchor: str = "middle",
    **more: object,
) -> str:
    return element(
        "text",
        escape(text),
        x=x,
        y=y,
        fill=color,
        font_size=size,
        text_anchor=anchor,
        **more,
    )
