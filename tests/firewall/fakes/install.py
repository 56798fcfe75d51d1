"""Install stand-ins as programs, where the configuration says that they are."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent


def install(name: str, directory: os.PathLike[str]) -> str:
    """Install the stand-in of that name; return its path. Its state is beside it."""
    # Imported, it is compiled once: there are many runs.
    text = f"import sys\nsys.path.append({str(HERE)!r})\n"
    text += f"from {name} import main\nsys.exit(main(sys.argv))\n"
    return write(name, text, directory)


def write(name: str, text: str, directory: os.PathLike[str]) -> str:
    """Install a program in Python with this `text`; return its path."""
    path = Path(directory) / name
    path.write_text(f"#!{sys.executable} -IS\n{text}")
    path.chmod(0o755)
    return str(path)
