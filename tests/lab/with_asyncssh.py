"""Run as `with_asyncssh.py HOST KEY FILE THERE BACK`: put FILE, and get it."""

import asyncio
import sys

import asyncssh


async def main() -> None:
    """Connect, and copy both ways: asyncssh reads ~/.ssh/config by itself."""
    host, key, file, there, back = sys.argv[1:]
    connection = asyncssh.connect(
        host, username="root", client_keys=[key], known_hosts=None
    )
    async with connection as client, client.start_sftp_client() as sftp:
        await sftp.put(file, there)
        await sftp.get(there, back)


if __name__ == "__main__":
    asyncio.run(main())
