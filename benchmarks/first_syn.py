"""How often the first SYN is answered, on a clean link: if not, 80 ms are lost."""

from collections.abc import Callable

from accepting import accept
from figures import Figures
from lab.network import SERVER_NAME, Network
from lab.programs import Client, Spasshd

_PORT = "22"


def measure(network: Network, path: Callable[[str], str], tries: int) -> list[Figures]:
    """Connect again and again, and count how often the client dialled once only."""
    spasshd = Spasshd(network.server, path("spasshd"), "--protect", f"tcp/{_PORT}")
    spasshd.start()
    # No sshd: those of today resent connections that come to nothing.
    accept(network.server, int(_PORT))
    client = Client(network.client, path("home"), "")
    client.accept(spasshd.invite("bench"))
    once = 0
    for _ in range(tries):
        words = ("proxy", "-v", "--", SERVER_NAME, _PORT)
        story = client.run("spassh", *words).stderr
        assert "connected to" in story
        once += story.count("dialled") == 1
    spasshd.running.stop()
    spasshd.verb("stop", "--open")
    return [
        Figures(
            "connections whose first SYN was answered",
            [100 * once / tries],
            [],
            f"at least 99, of {tries} tries",
            "%",
        )
    ]
