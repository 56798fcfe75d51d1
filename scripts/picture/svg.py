"""The little of SVG that our pictures take: boxes, lines and text."""

from html import escape

MONOSPACE = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
SANS = "system-ui, 'DejaVu Sans', Arial, sans-serif"


def element(name: str, *children: str, **attributes: object) -> str:
    """Return an element; `_` in the name of an attribute stands for a hyphen.

    Children are SVG already: text goes through `escape` before.
    """
    words = "".join(
        f' {key.replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    inside = "".join(children)
    return f"<{name}{words}>{inside}</{name}>" if children else f"<{name}{words}/>"


def document(title: str, width: float, height: float, *children: str) -> str:
    """Return a whole file with a picture that says in words what it is."""
    size = {"width": f"{width:g}", "height": f"{height:g}"}
    return (
        element(
            "svg",
            "\n",
            element("title", escape(title)),
            "\n",
            *(f"{child}\n" for child in children),
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:g} {height:g}",
            role="img",
            **size,
        )
        + "\n"
    )
