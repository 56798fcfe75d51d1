"""Run as `with_paramiko.py HOST KEY FILE THERE BACK CONFIG`: put FILE, and get it."""

import sys

import paramiko


def main() -> None:
    """Connect as the manual page says, and copy both ways."""
    host, key, file, there, back, config = sys.argv[1:]
    found = paramiko.SSHConfig.from_path(config).lookup(host)
    client = paramiko.SSHClient()
    # The server is as new as its key.
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507
    client.connect(
        host,
        username="root",
        key_filename=key,
        sock=paramiko.ProxyCommand(found["proxycommand"]),
        banner_timeout=120,
        auth_timeout=120,
    )
    with client, client.open_sftp() as sftp:
        sftp.put(file, there)
        sftp.get(there, back)


if __name__ == "__main__":
    main()
