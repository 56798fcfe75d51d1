"""Who may import whom. The sources are read, not run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): (
        path
    )
    for path in sorted((ROOT / "spassh").rglob("*.py"))
}

PURE = [
    "spassh.errors",
    "spassh.schedule",
    *(name for name in MODULES if name.startswith("spassh.protocol.")),
]
"""Values in, values out: what they need of the world is an argument."""

WORLD = {
    "asyncio",
    "ctypes",
    "io",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
}
"""Files, sockets, clocks, randomness and other programs."""

FOREIGN = {"spassh.protocol.libcrypto": {"ctypes", "os"}}
"""A library that computes is no more of the world than `cryptography` is."""


def imports(source: str, module: str, *, package: bool) -> Iterator[str]:
    """Yield the full name of every module that `source` may import, lazily or not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            up = node.level - package
            base = parts[: len(parts) - up] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            # `from . import connect` imports a module, as far as one is called so.
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def imports_of(module: str) -> set[str]:
    path = MODULES[module]
    return set(imports(path.read_text(), module, package=path.name == "__init__.py"))


@pytest.mark.parametrize("module", MODULES)
def test_the_client_never_imports_the_server(module: str) -> None:
    assert not [
        name for name in imports_of(module) if name.split(".")[0] == "spassh_server"
    ]


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name.startswith("spassh.protocol")]
)
def test_the_protocol_imports_nothing_of_the_client(module: str) -> None:
    ours = {name for name in imports_of(module) if name.split(".")[0] == "spassh"}
    assert not {name for name in ours if not name.startswith("spassh.protocol")}


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_does_not_touch_the_world(module: str) -> None:
    found = {name.split(".")[0] for name in imports_of(module)} & WORLD
    assert found == FOREIGN.get(module, set())


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"spassh.cli"}))
def test_only_the_command_line_reads_a_clock(module: str) -> None:
    of_time = {name for name in imports_of(module) if re.match("(date)?time", name)}
    # To sleep is not to know what time it is.
    assert of_time <= {"time", "time.sleep"}
    assert "time" not in of_time or "time.sleep" in of_time


def test_no_module_needs_itself() -> None:
    graph = {name: imports_of(name) & set(MODULES) for name in MODULES}
    # Take away what needs nothing that is left; a cycle is what remains.
    while free := [name for name, needs in graph.items() if not needs & set(graph)]:
        for name in free:
            del graph[name]
    assert graph == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os.path", {"os.path"}),
        ("def f():\n    import time", {"time"}),
        ("from spassh_server import x", {"spassh_server", "spassh_server.x"}),
        ("from . import b", {"spassh.verbs", "spassh.verbs.b"}),
        ("from .b import c", {"spassh.verbs.b", "spassh.verbs.b.c"}),
        ("from ..b import c", {"spassh.b", "spassh.b.c"}),
        ("from .. import b", {"spassh", "spassh.b"}),
    ],
)
def test_imports_are_found_in_every_form(source: str, expected: set[str]) -> None:
    assert set(imports(source, "spassh.verbs.a", package=False)) == expected


def test_imports_of_a_package_are_relative_to_itself() -> None:
    found = set(imports("from . import b", "spassh.verbs", package=True))
    assert found == {"spassh.verbs", "spassh.verbs.b"}
