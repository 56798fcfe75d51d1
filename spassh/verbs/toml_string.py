"""Strings as TOML spells them."""

from json import dumps


def toml_string(text: str) -> str:
    """Spell a string for TOML, whose escapes JSON has as well."""
    return dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
