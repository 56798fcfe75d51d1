"""scripts/package: the same tree gives the same files."""

import os
import subprocess
from pathlib import Path

from .test_contrib import ROOT

ABOUT_THE_BUILD = {".buildinfo", ".changes"}
"""They say on which machine it was, and when."""

HOW_ELSE = "import os, sys; os.umask(0o077); os.execv(sys.argv[1], sys.argv[1:])"


def test_the_files_are_the_same_whoever_builds_them(
    packages: Path, tmp_path: Path
) -> None:
    """Whoever does not trust us can build them, and compare."""
    argv = ["/usr/bin/python3", "-c", HOW_ELSE, str(ROOT / "scripts" / "package")]
    # The tests of the packages were run when the others were built.
    elsewhere = {
        **os.environ,
        "DEB_BUILD_OPTIONS": "nocheck",
        "LANG": "tr_TR.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOURCE_DATE_EPOCH": "1",
        "TZ": "Pacific/Kiritimati",
    }
    again = tmp_path / "again"
    subprocess.run([*argv, str(again)], check=True, env=elsewhere, timeout=400)
    files = {path.name for path in packages.iterdir() if path.is_file()}
    assert len({name for name in files if name.endswith(("_all.deb", ".whl"))}) == 3
    assert files <= {path.name for path in again.iterdir()}
    for name in files:
        if Path(name).suffix not in ABOUT_THE_BUILD:
            assert (again / name).read_bytes() == (packages / name).read_bytes(), name
