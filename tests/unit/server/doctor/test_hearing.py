"""The doctor's datagram, in a namespace of its own."""

import pytest
from unit.server.wires import run_inside

pytest.importorskip("scapy.libs.winpcapy")

pytestmark = pytest.mark.netns


def says(code: str, expected: str) -> None:
    done = run_inside(
        f"""
from spassh_server.doctor.hearing import Hearing, listen_to_itself
ip("link set lo up")
{code}"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_it_passes_the_filter_that_a_daemon_with_this_key_has() -> None:
    says(
        """
capture = listen("lo", tag_key=GATE.tag_key)
frames = 0
def count():
    global frames
    frames += len(last_bytes(capture))
    return frames
hearing = listen_to_itself(["lo"], PORT, count, GATE)
print(hearing == Hearing(heard=True, daemon_heard=True), frames, capture.kept.untagged)
""",
        "True 1 True\n",
    )


def test_without_the_key_nothing_is_said_of_the_daemon() -> None:
    says(
        """
hearing = listen_to_itself(["lo"], PORT, lambda: sys.exit("asked"), None)
print(hearing == Hearing(heard=True))
""",
        "True\n",
    )
