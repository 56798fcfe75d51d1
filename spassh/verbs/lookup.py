"""The profile that a verb is about."""

from ..errors import ProfileError
from ..patterns import Rank, Wanted, rank
from ..private import shell_word
from ..profile import Profile, find, profile_paths, profiles_directory, read_profile


def profile_for(home: str, host: str) -> Profile:
    """Return the profile for `host`. Unlike for a login, there has to be one.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    profile = find(home, Wanted(host))
    if profile is None:
        raise no_profile(home, host)
    return profile


def no_profile(home: str, host: str) -> ProfileError:
    """Return what to say where there is no profile for `host`."""
    return ProfileError(
        profiles_directory(home),
        f"no profile names '{host}'",
        f"'spassh enroll {host}' makes one, or with an invite 'spassh import --host"
        f" {host}'; a Host of ssh_config(5) is no name here, but its HostName is",
    )


def named_profile(home: str, wanted: Wanted) -> Profile | None:
    """Return the profile that names the host itself, if there is one that can be used.

    Raises:
        ProfileError: there are two.
    """
    found: Profile | None = None
    for path in profile_paths(home):
        try:
            profile = read_profile(path)
        except (FileNotFoundError, ProfileError):
            continue  # It is told of at the logins that it concerns.
        if rank(profile.hosts, wanted) != Rank(is_exact=True, has_login=False):
            continue
        if found:
            raise ProfileError(
                path,
                f"names '{wanted.host}' as {found.path} does",
                f"take the host out of one of them, or: rm {shell_word(path)}",
            )
        found = profile
    return found
