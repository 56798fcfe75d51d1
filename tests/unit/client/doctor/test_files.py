"""Where the files with secrets are."""

import os
from pathlib import Path

import pytest

from spassh.verbs.doctor.files import Place, places


@pytest.mark.parametrize(
    ("mode", "is_open"),
    [
        (0o700, False),
        (0o755, False),
        (0o775, True),
        (0o757, True),
        (0o1777, False),
        (0o770, True),
    ],
)
def test_who_may_write_a_directory_may_replace_its_files(
    mode: int, is_open: bool
) -> None:
    assert Place("/x", 0, mode).is_open is is_open


def test_every_directory_on_the_way_is_looked_at_where_links_lead(
    tmp_path: Path,
) -> None:
    real = tmp_path / "real" / "spassh"
    real.mkdir(parents=True)
    real.chmod(0o750)
    link = tmp_path / "link"
    link.symlink_to(real)
    found = places([str(link / "key"), str(link / "profiles" / "a.toml")])
    paths = [place.path for place in found]
    assert paths[:3] == [str(real), str(real.parent), str(tmp_path)]
    assert paths.count("/") == 1
    assert str(link) not in paths
    assert found[0] == Place(str(real), os.geteuid(), 0o750)
