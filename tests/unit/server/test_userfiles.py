from pathlib import Path

import pytest
from unit.server.parties import CONFIG, key, key_table

from spassh_server.config import Config, ConfigError
from spassh_server.userfiles import owner_of_key, read_users, user_path


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    main = tmp_path / "spasshd.toml"
    main.touch(0o600)
    (tmp_path / "users.d").mkdir()
    return CONFIG._replace(path=str(main), users_dir=str(tmp_path / "users.d"))


def write(settings: Config, name: str, text: str) -> None:
    path = Path(settings.users_dir) / name
    path.write_text(text)
    path.chmod(0o600)


def write_main(settings: Config, text: str) -> None:
    Path(settings.path).write_text(text)


def main_key(name: str, number: int) -> str:
    return key_table(number).replace("[[key]]", f"[[users.{name}.key]]")


def owner_name(settings: Config, public: bytes) -> str:
    owner = owner_of_key(settings, public)
    assert owner is not None
    return owner.name


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


def test_the_users_of_the_main_file_are_read_as_well(settings: Config) -> None:
    write_main(settings, main_key("cy", 3) + main_key("bob", 2))
    write(settings, "ada.toml", key_table(1))
    users, problems = read_users(settings)
    assert sorted(users.by_name) == ["ada", "bob", "cy"]
    assert problems == []
    assert owner_name(settings, key(3).public) == "cy"
    assert owner_name(settings, key(1).public) == "ada"


def test_a_user_in_both_places_is_that_of_the_main_file(settings: Config) -> None:
    write_main(settings, main_key("ada", 1))
    write(settings, "ada.toml", key_table(2))
    users, problems = read_users(settings)
    assert users.by_name["ada"].keys == (key(1),)
    path = user_path(settings, "ada")
    assert list(map(str, problems)) == [f"{path}: ada is in {settings.path} as well"]
    assert problems[0].hint == "take one of them out"


def test_a_broken_user_of_the_main_file_does_not_give_way(settings: Config) -> None:
    """Else a typing error would bring back what a file says that was forgotten."""
    write_main(settings, f"[users.ada]\nport = []\n{main_key('ada', 1)}")
    write(settings, "ada.toml", key_table(2))
    write(settings, "bob.toml", key_table(3))
    users, problems = read_users(settings)
    assert list(users.by_name) == ["bob"]
    path = user_path(settings, "ada")
    assert list(map(str, problems)) == [
        f"{settings.path}:2: port: unknown key",
        f"{path}: ada is in {settings.path} as well",
    ]


def test_a_key_of_two_users_is_reported_where_the_second_is(settings: Config) -> None:
    write_main(settings, main_key("cy", 1) + main_key("dan", 1))
    write(settings, "ada.toml", key_table(1))
    users, problems = read_users(settings)
    assert users.owner(key(1).public)[1].name == "cy"
    assert list(map(str, problems)) == [
        f"{settings.path}: key: belongs to cy already",
        f"{user_path(settings, 'ada')}: key: belongs to cy already",
    ]


def test_a_main_file_that_is_broken_is_an_error(settings: Config) -> None:
    write_main(settings, "[users.ada")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_users(settings)


def test_a_missing_directory_is_reported_with_its_remedy(settings: Config) -> None:
    missing = settings._replace(users_dir=settings.users_dir + "/none")
    write_main(missing, main_key("cy", 3))
    users, problems = read_users(missing)
    assert list(users.by_name) == ["cy"]
    assert str(problems[0]) == f"{missing.users_dir}: no such file or directory"
    assert problems[0].hint == f"mkdir -m 700 {missing.users_dir}"


def test_the_owner_of_a_key_is_found(settings: Config) -> None:
    write(settings, "ada.toml", key_table(1))
    write(settings, "bob.toml", key_table(2))
    assert owner_name(settings, key(2).public) == "bob"
    assert owner_of_key(settings, bytes(32)) is None
