"""The profile that a verb is about. Unlike for a login, there has to be one."""

from ..errors import ProfileError
from ..patterns import Wanted
from ..profile import Profile, find, profiles_directory


def profile_for(home: str, host: str) -> Profile:
    """Return the profile for `host`.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    profile = find(home, Wanted(host))
    if profile is None:
        raise ProfileError(
            profiles_directory(home),
            f"no profile names '{host}'",
            f"'spassh import --host {host}' takes the server's invite in; a Host"
            " of ssh_config(5) is no name here, but its HostName is",
        )
    return profile
