from pathlib import Path

import pytest
from unit.server.parties import CONFIG, key, key_table

from spassh_server.config import Config
from spassh_server.userfiles import owner_of_key, read_users, user_path


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    return CONFIG._replace(users_dir=str(tmp_path))


def write(settings: Config, name: str, text: str) -> None:
    path = Path(settings.users_dir) / name
    path.write_text(text)
    path.chmod(0o600)


def test_every_users_file_is_read(settings: Config) -> None:
    write(settings, "ada.toml", key_table(1))
    write(settings, "bob.toml", key_table(2))
    users, problems = read_users(settings)
    assert sorted(users.by_name) == ["ada", "bob"]
    assert problems == []


@pytest.mark.parametrize("name", ["README", "ada.toml~", "ada.toml.7.tmp", "ada.txt"])
def test_a_file_with_another_ending_is_no_user(settings: Config, name: str) -> None:
    write(settings, name, "nonsense")
    users, problems = read_users(settings)
    assert len(users) == 0
    assert problems == []


def test_a_broken_file_is_reported_and_the_others_are_read(settings: Config) -> None:
    write(settings, "ada.toml", "nonsense")
    write(settings, "bob.toml", key_table(2))
    write(settings, "-x.toml", key_table(3))
    (Path(settings.users_dir) / "dir.toml").mkdir()
    write(settings, "eve.toml", key_table(4))
    (Path(settings.users_dir) / "eve.toml").chmod(0o644)
    users, problems = read_users(settings)
    assert list(users.by_name) == ["bob"]
    assert len(problems) == 4
    named = [str(problem).split(":")[0].rpartition("/")[2] for problem in problems]
    assert named == ["-x.toml", "ada.toml", "dir.toml", "eve.toml"]


def test_a_key_of_two_users_is_reported_with_both(settings: Config) -> None:
    write(settings, "ada.toml", key_table(1))
    write(settings, "bob.toml", key_table(1) + key_table(2))
    users, problems = read_users(settings)
    assert sorted(users.by_name) == ["ada", "bob"]
    path = user_path(settings, "bob")
    assert [f"{path}: key: belongs to ada already"] == list(map(str, problems))
    assert problems[0].hint == "each key has one user"


def test_a_missing_directory_is_reported_with_its_remedy(settings: Config) -> None:
    missing = settings._replace(users_dir=settings.users_dir + "/none")
    users, problems = read_users(missing)
    assert len(users) == 0
    assert str(problems[0]) == f"{missing.users_dir}: no such file or directory"
    assert problems[0].hint == f"mkdir -m 700 {missing.users_dir}"


def test_the_owner_of_a_key_is_found(settings: Config) -> None:
    write(settings, "ada.toml", key_table(1))
    write(settings, "bob.toml", key_table(2))
    assert owner_of_key(settings, key(2).public) == "bob"
    assert owner_of_key(settings, bytes(32)) == ""
