"""What a capture hears, and what it keeps from others, in namespaces of its own."""

import pytest
from unit.server.bpf_machine import need_maps
from unit.server.wires import run_inside

from spassh_server.limits import COPIES_THAT_PASS

pytest.importorskip("scapy.libs.winpcapy")

pytestmark = pytest.mark.netns


def says(code: str, expected: str) -> None:
    done = run_inside(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


COPIES = "Kept(untagged=True, copies=True)"
TAGGED = "Kept(untagged=True, copies=False)"


@pytest.mark.parametrize("name", ["here", "any"])
@pytest.mark.parametrize("fwknop", [False, True])
def test_the_kernel_lets_few_copies_through_and_other_packets_all_the_same(
    name: str, fwknop: bool
) -> None:
    """What begins like a recorded packet and goes on as noise is a copy as well."""
    need_maps()
    says(
        f"""
add("here")
capture = listen("{name}", fwknop={fwknop}, tag_key=GATE.tag_key)
recorded = tagged(1)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind(("x-here", 0))
    for number in range(1000):
        copy = recorded[:12] + bytes([number % 256]) * (SIZE - 13) + bytes([1])
        sock.send(ethernet((ipv4, ipv6)[number % 2](udp(copy))))
        if number % 100 == 0:
            sock.send(ethernet(ipv4(udp(tagged(2)))))
    sock.send(ethernet(ipv4(udp(tagged(3)))))
marks = []
while 3 not in marks:
    select.select([capture], [], [], 20)
    marks += last_bytes(capture)
print(capture.kept, marks.count(1), marks.count(2), capture.dropped())
""",
        f"{COPIES} {COPIES_THAT_PASS} 10 0\n",
    )


def test_the_capabilities_of_the_unit_are_enough_to_count_copies() -> None:
    """With CAP_PERFMON, as root has it, older verifiers ask for less."""
    need_maps()
    says(
        """
import ctypes
CAP_NET_RAW, CAP_BPF = 13, 39
low, high = 1 << CAP_NET_RAW, 1 << CAP_BPF - 32
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
add("here")
if ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)):
    sys.exit("capset failed")
for fwknop in (False, True):
    for name in ("here", "any"):
        print(listen(name, fwknop=fwknop, tag_key=GATE.tag_key).kept)
""",
        f"{COPIES}\n" * 4,
    )


def test_nothing_but_the_capture_holds_the_map_and_the_program() -> None:
    """Whoever takes the listener over could set the counts as they please."""
    need_maps()
    says(
        """
add("here")
captures = [listen("here", tag_key=GATE.tag_key) for _ in range(3)]
links = []
for fd in os.listdir("/proc/self/fd"):
    try:
        links.append(os.readlink(f"/proc/self/fd/{fd}"))
    except FileNotFoundError:
        pass  # It was that of the directory.
sockets = [link for link in links if "socket" in link]
print(len(sockets) >= 3, [link for link in links if "bpf" in link])
""",
        "True []\n",
    )


def test_without_the_privilege_or_the_system_call_copies_pass() -> None:
    """Every copy is refused by the daemon then, as before."""
    says(
        """
import errno
from spassh_server.filters import kernel_bpf
def refuse(*_):
    raise OSError(errno.EPERM, "no bpf(2)")
kernel_bpf._call = refuse
add("here")
capture = listen("here", tag_key=GATE.tag_key)
recorded = tagged(1)
for _ in range(20):
    send("x-here", ethernet(ipv4(udp(recorded))))
    send("x-here", ethernet(ipv4(udp(wrong(recorded, 5)))))
select.select([capture], [], [], 20)
print(capture.kept, last_bytes(capture))
""",
        f"{TAGGED} {[1] * 20}\n",
    )


@pytest.mark.parametrize("name", ["here", "any"])
def test_nobody_can_take_the_filter_off_a_capture(name: str) -> None:
    says(
        f"""
import errno
SO_DETACH_FILTER = 27
for key in (b"", GATE.tag_key):
    capture = listen("{name}", tag_key=key)
    with socket.socket(fileno=os.dup(capture.fileno())) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        except OSError as error:
            print(errno.errorcode[error.errno])
""",
        "EPERM\nEPERM\n",
    )


@pytest.mark.parametrize("name", ["here", "any"])
def test_the_kernel_lets_nothing_through_but_datagrams_of_our_sizes(name: str) -> None:
    says(
        f"""
add("here")
capture = listen("{name}")
put("here", 1)
put("here", 2, port=PORT + 1)
put("here", 3, length=SIZE + 7)
for packet in (ipv4(udp(bytes(SIZE), port=7)), ipv4(udp(bytes(193)))):
    send("x-here", ethernet(packet))
send("x-here", ethernet(ipv4(udp(bytes(SIZE)), fragment=1)))
send("x-here", ethernet(ipv4(udp(bytes(SIZE)), protocol=6)))
send("x-here", ethernet(ipv6(udp(bytes(SIZE)), next_header=6)))
put("here", 4)
print(hear(capture, 4), capture.dropped())
capture.close()
capture.close()
""",
        "[1, 1, 4, 4] 0\n",
    )


@pytest.mark.parametrize("name", ["here", "any"])
def test_the_kernel_checks_the_tag(name: str) -> None:
    """A thousand that are right pass, and a thousand with a wrong bit do not."""
    says(
        f"""
add("here")
capture = listen("{name}", tag_key=GATE.tag_key)
marks = []
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind(("x-here", 0))
    for number in range(1000):
        packet = (ipv4, ipv6)[number % 2]
        sock.send(ethernet(packet(udp(tagged(1)))))
        sock.send(ethernet(packet(udp(wrong(tagged(2), number)))))
        marks += last_bytes(capture)
    sock.send(ethernet(ipv4(udp(tagged(3)))))
select.select([capture], [], [], 20)
marks += last_bytes(capture)
print(capture.kept, marks.count(1), marks.count(2), marks[-1], capture.dropped())
""",
        f"{COPIES} 1000 0 3 0\n",
    )


def test_the_kernel_checks_the_tag_on_the_loopback_and_without_ethernet() -> None:
    says(
        """
import fcntl
tun = os.open("/dev/net/tun", os.O_RDWR)
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
fcntl.ioctl(tun, TUNSETIFF, pack("16sH22x", b"wg0", IFF_TUN | IFF_NO_PI))
ip("link set wg0 up")
ip("link set lo up")
alone, everywhere = (listen(one, tag_key=GATE.tag_key) for one in ("lo", "any"))
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        for payload in (wrong(tagged(1), 0), tagged(2)):
            sock.sendto(payload, (address, PORT))
for packet in (ipv4, ipv6):
    for payload in (wrong(tagged(3), 95), tagged(4)):
        os.write(tun, packet(udp(payload)))
print(last_bytes(alone), last_bytes(everywhere))
# Where libpcap does not say where a frame came in: the tunnel is raw IP.
from spassh_server.capture import Capture
alone = Capture("wg0", PORT, tag_key=GATE.tag_key)
for packet in (ipv4, ipv6):
    for payload in (wrong(tagged(5), 40), tagged(6)):
        os.write(tun, packet(udp(payload)))
print(alone.link, alone.kept.untagged, last_bytes(alone))
""",
        "[2, 2] [2, 2, 4, 4]\n12 True [6, 6]\n",
    )


def test_a_kernel_without_room_for_it_filters_by_port_and_size() -> None:
    """User space refuses the same then, and wakes up for it.

    With some, the kernel takes the filter, but not beside the one that libpcap has in
    its place for a moment.
    """
    done = run_inside(
        """
add("here")
path = "/proc/sys/net/core/optmem_max"
if not os.path.exists(path):
    sys.exit("one limit for all")
found = set()
for fwknop, rooms in ((True, (4096, 20480)), (False, range(7680, 8800, 32))):
    for room in rooms:
        with open(path, "w") as file:
            file.write(str(room))
        capture = listen("here", tag_key=GATE.tag_key, fwknop=fwknop)
        for payload in (wrong(tagged(1), 1), tagged(2), bytes(SIZE + 1)):
            send("x-here", ethernet(ipv4(udp(payload))))
        send("x-here", ethernet(ipv4(udp(tagged(3)))))
        select.select([capture], [], [], 20)
        found.add((fwknop, capture.kept.untagged, *last_bytes(capture)))
        capture.close()
print(*sorted(found))
"""
    )
    if "one limit for all" in done.stderr:
        pytest.skip("before Linux 6.7, namespaces share net.core.optmem_max")
    each = [
        (fwknop, untagged, *marks)
        for fwknop in (False, True)
        for untagged, marks in ((False, (1, 2, 3)), (True, (2, 3)))
    ]
    expected = " ".join(map(str, each)) + "\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_what_libpcap_has_not_given_to_the_kernel_is_no_tag_checked_there() -> None:
    """It would take the filter off, and apply it here to all that comes in."""
    says(
        """
from spassh_server.filters import kernel_bpf
kernel_bpf.attached_classic = lambda _: []
add("here")
capture = listen("here", tag_key=GATE.tag_key)
for payload in (wrong(tagged(1), 1), tagged(2), bytes(SIZE + 1), tagged(3)):
    send("x-here", ethernet(ipv4(udp(payload))))
select.select([capture], [], [], 20)
print(capture.kept, last_bytes(capture))
""",
        "Kept(untagged=False, copies=False) [1, 2, 3]\n",
    )


def test_where_the_kernel_takes_no_other_filter_the_one_that_was_there_stays() -> None:
    need_maps()
    says(
        """
from spassh_server.filters import kernel_bpf
def refuse(*_):
    raise OSError("no room")
kernel_bpf.attach = refuse
add("here")
capture = listen("here", tag_key=GATE.tag_key)
for payload in (wrong(tagged(1), 1), tagged(2), bytes(SIZE + 1), tagged(3)):
    send("x-here", ethernet(ipv4(udp(payload))))
select.select([capture], [], [], 20)
print(capture.kept, last_bytes(capture))
""",
        f"{TAGGED} [2, 3]\n",
    )


def test_what_begins_like_a_packet_of_fwknop_passes_where_it_is_wanted() -> None:
    """Elsewhere the kernel keeps it out, and nobody wakes up for it."""
    says(
        """
add("here")
for wanted in (True, False):
    capture = listen("here", fwknop=wanted)
    for size in (139, 140, 1400):
        for first in b"89+/AE":
            payload = bytes([first]) * size
            send("x-here", ethernet(ipv4(udp(payload))))
            send("x-here", ethernet(ipv6(udp(payload))))
    send("x-here", ethernet(ipv4(udp(b"8" * 200, port=7))))
    send("x-here", ethernet(ipv4(udp(b"8" * 200), fragment=1)))
    put("here", 4)
    heard = hear(capture, 4)
    print("".join(sorted(map(chr, heard[:-2]))), heard[-2:])
    capture.close()
""",
        "++//8899E [4, 4]\n [4, 4]\n",
    )


@pytest.mark.parametrize("name", ["here", "any"])
def test_packets_of_fwknop_pass_by_other_ways_beside_the_tag(name: str) -> None:
    """Of native datagrams, the kernel checks the tag as before."""
    says(
        f"""
add("here")
capture = listen(
    "{name}", fwknop=True, tag_key=GATE.tag_key,
    transports="udp/53 udp/any tcp/443 tcp/8443 http/80 http/8080 icmp",
)
for number in range(50):
    for packet in (ipv4, ipv6):
        send("x-here", ethernet(packet(udp(wrong(tagged(1), number)))))
for packet in (ipv4, ipv6):
    send("x-here", ethernet(packet(udp(tagged(2)))))
# No packets of fwknop, and no first characters of one. The knock port looks closer.
send("x-here", ethernet(ipv4(udp(b"8" + bytes(160)))))
for first in (b"A", b"GET / HTTP/1.0", bytes(1)):
    payload = first + bytes(200)
    for segment, protocol in (
        (udp(payload, port=9), 17), (tcp(payload, 443), 6), (tcp(payload), 6),
        (icmp(payload), 1),
    ):
        send("x-here", ethernet(ipv4(segment, protocol=protocol)))
        send("x-here", ethernet(ipv6(segment, next_header=protocol)))
for mark, (segment, protocol) in enumerate((
    (udp(b"8" * 160 + bytes([3]), port=9), 17),
    (tcp(b"9" * 160 + bytes([4]), 443), 6),
    (tcp(b"+" * 160 + bytes([5]), 8443, options=bytes(12)), 6),
    (tcp(get(b"/" * 160) + bytes([6])), 6),
    (tcp(get(b"8" * 160, host="here.test") + bytes([7]), 8080), 6),
    (icmp(b"8" * 160 + bytes([8]), 8), 1),
)):
    send("x-here", ethernet(ipv4(segment, protocol=protocol)))
    send("x-here", ethernet(ipv4(segment, protocol=protocol, fragment=1)))
send("x-here", ethernet(ipv4(udp(tagged(9)))))
marks = []
while 9 not in marks:
    select.select([capture], [], [], 20)
    marks += last_bytes(capture)
print(capture.kept.untagged, marks)
""",
        "True [2, 2, 3, 4, 5, 6, 7, 8, 9]\n",
    )


@pytest.mark.parametrize("name", ["here", "any"])
@pytest.mark.parametrize("fwknop", [False, True])
def test_without_other_ways_the_filter_is_what_it_was(name: str, fwknop: bool) -> None:
    says(
        f"""
from spassh_server import capture
from spassh_server.filters.bpf import behind
from spassh_server.libpcap import Handle, filter_expression
from spassh_server.filters.tag_filter import tag_filter
add("here")
installed = []
install = Handle.install
Handle.install = lambda self, it: (installed.append(it), install(self, it))
one = listen("{name}", fwknop={fwknop}, tag_key=GATE.tag_key)
expression = f"inbound and ({{filter_expression(PORT, fwknop={fwknop})}})"
first = one._handle.compile(expression)
tag = tag_filter(one.link, GATE.tag_key, keep=2048, fwknop={fwknop})
print(installed == [behind(first, tag)], one.link)
""",
        "True 276\n",
    )


def test_several_interfaces_are_one_capture_and_others_are_not_heard() -> None:
    says(
        """
for name in ("here", "there", "elsewhere"):
    add(name)
capture = listen("here", "there")
put("elsewhere", 1)
put("here", 2)
put("elsewhere", 3)
put("there", 4)
print(hear(capture, 4))
capture = listen("there", "any")
put("elsewhere", 5)
put("here", 6)
print(hear(capture, 6))
""",
        "[2, 2, 4, 4]\n[5, 5, 6, 6]\n",
    )


def test_an_interface_is_heard_once_it_is_there_and_when_it_comes_back() -> None:
    says(
        """
capture = listen("late")
add("other")
put("other", 1)
add("late")
put("late", 2)
print(hear(capture, 2))
ip("link delete late")
put("other", 3)
add("late")
put("late", 4)
print(hear(capture, 4))
ip("link set late down")
up("late", "x-late")
put("late", 5)
print(hear(capture, 5))
""",
        "[2, 2]\n[4, 4]\n[5, 5]\n",
    )


def test_a_name_that_moves_to_another_interface_is_followed() -> None:
    says(
        """
add("one")
add("two")
capture = listen("one")
put("one", 1)
print(hear(capture, 1))
ip("link set one down")
ip("link set two down")
ip("link set one name old")
ip("link set two name one")
up("old", "x-one")
up("one", "x-two")
send("x-one", ethernet(ipv4(udp(bytes([2]) * SIZE))))
put("two", 3)  # The far end keeps its name.
print(hear(capture, 3))
""",
        "[1, 1]\n[3, 3]\n",
    )


def test_another_name_of_an_interface_will_do() -> None:
    says(
        """
add("here")
add("other")
ip("link property add dev here altname enp0s1")
capture = listen("enp0s1")
put("other", 1)
put("here", 2)
print(hear(capture, 2))
""",
        "[2, 2]\n",
    )


@pytest.mark.parametrize("name", ["here", "any"])
def test_what_this_host_sends_is_no_knock_for_it(name: str) -> None:
    says(
        f"""
add("here")
capture = listen("{name}")
for packet in (ipv4(udp(bytes([1]) * SIZE)), ipv6(udp(bytes([1]) * SIZE))):
    send("here", ethernet(packet))
put("here", 2)
heard = hear(capture, 2)
# It came in at the other end of the wire, which is an interface as well.
print([mark for mark in heard if mark == 1], heard[-2:])
""",
        "[1, 1] [2, 2]\n" if name == "any" else "[] [2, 2]\n",
    )


def test_what_this_host_sends_to_itself_is_heard() -> None:
    says(
        """
ip("link set lo up")
capture = listen("lo")
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.sendto(bytes([1]) * SIZE, (address, PORT))
print(hear(capture, 1))
""",
        "[1, 1]\n",
    )


@pytest.mark.parametrize(
    ("name", "heard"), [("bridge", [2, 2]), ("port", [2, 2]), ("any", [2, 2, 2, 2])]
)
def test_a_bridge_and_its_port_are_two_interfaces(name: str, heard: list[int]) -> None:
    says(
        f"""
add("port")
ip("link add bridge type bridge")
ip("link set port master bridge")
ip("link set bridge up")
capture = listen("{name}")
put("port", 2)
put("port", 3)
print([mark for mark in hear(capture, 3) if mark == 2])
""",
        f"{heard}\n",
    )


def test_a_frame_of_a_vlan_came_in_through_the_interface_below() -> None:
    says(
        """
add("here")
add("other")
capture = listen("here")
put("here", 1)
put("other", 2, tag=vlan(7))
put("here", 3, tag=vlan(7))
print(hear(capture, 3))
""",
        "[1, 1, 3, 3]\n",
    )


def test_two_interfaces_over_one_another_are_two() -> None:
    says(
        """
add("below")
ip("link add link below name above type macvlan mode bridge")
ip("link set above up")
above, below = listen("above"), listen("below")
put("below", 1)  # To everybody.
print(hear(above, 1), hear(below, 1))
""",
        "[1, 1] [1, 1]\n",
    )


def test_an_interface_without_ethernet_is_heard() -> None:
    says(
        """
import fcntl
tun = os.open("/dev/net/tun", os.O_RDWR)
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
fcntl.ioctl(tun, TUNSETIFF, pack("16sH22x", b"wg0", IFF_TUN | IFF_NO_PI))
capture = listen("wg0")
ip("link set wg0 up")
for packet in (ipv4(udp(bytes([1]) * SIZE)), ipv6(udp(bytes([1]) * SIZE))):
    os.write(tun, packet)
print(hear(capture, 1))
""",
        "[1, 1]\n",
    )


def test_frames_come_in_bounded_turns() -> None:
    says(
        """
from spassh_server.limits import FRAMES_PER_TURN
add("here")
capture = listen("any")
send("x-here", ethernet(ipv4(udp(bytes(SIZE)))), FRAMES_PER_TURN + 5)
select.select([capture], [], [], 20)
print(len(list(capture.frames())) - FRAMES_PER_TURN, len(list(capture.frames())))
""",
        "0 5\n",
    )


@pytest.mark.parametrize("name", ["here", "any"])
def test_what_the_kernel_has_no_room_for_is_counted(name: str) -> None:
    says(
        f"""
from spassh_server import capture as module
module.CAPTURE_BUFFER_BYTES = 1 << 16
add("here")
capture = listen("{name}")
sent = 0
while not capture.dropped() and sent < 100_000:
    send("x-here", ethernet(ipv4(udp(bytes(SIZE)))), 100)
    sent += 100
before = capture.dropped()
send("x-here", ethernet(ipv4(udp(bytes(SIZE)))), 100)
dropped = capture.dropped()
heard = 0
while frames := len(list(capture.frames())):
    heard += frames
print(0 < before < dropped, heard + dropped == sent + 100, heard > 0)
# What there is room for again is no drop.
put("here", 2)
hear(capture, 2)
print(capture.dropped() == dropped)
""",
        "True True True\nTrue\n",
    )


def test_a_missing_permission_is_told() -> None:
    # Root of a user namespace that has no network of its own.
    done = run_inside(
        """
from spassh_server.capture import CaptureError
try:
    listen("lo")
except CaptureError as error:
    print(error.hint)
""",
        network=False,
    )
    assert (done.returncode, done.stdout) == (0, "run this as root\n"), done.stderr


class TestWhereFramesDoNotSayWhereTheyCameIn:
    """Linux with a libpcap before 1.10, and other systems."""

    before = """
from spassh_server.capture import CaptureError, pcap
pcap.pcap_set_datalink = lambda pointer, link: -1
add("here")
add("there")
"""

    def test_each_interface_has_its_own_capture(self) -> None:
        says(
            self.before
            + """
captures = open_captures(["here", "there"], PORT)
print([(one.interface, one.link) for one in captures])
put("there", 1)
put("here", 2)
put("there", 3)
print(hear(captures[0], 2), hear(captures[1], 3))
(everywhere,) = open_captures(["here", "any"], PORT)
put("there", 4)
print(everywhere.link, hear(everywhere, 4))
""",
            "[('here', 1), ('there', 1)]\n[2, 2] [1, 1, 3, 3]\n113 [4, 4]\n",
        )

    def test_a_missing_interface_is_an_error(self) -> None:
        says(
            self.before
            + """
try:
    open_captures(["here", "nowhere0"], PORT)
except CaptureError as error:
    print(error.hint)
""",
            "'ip link' lists the interfaces\n",
        )

    def test_the_capture_ends_with_its_interface_but_not_with_the_link(self) -> None:
        says(
            self.before
            + """
capture = listen("here")
ip("link set here down")
select.select([capture], [], [], 20)
print(list(capture.frames()))
up("here", "x-here")
put("here", 1)
print(hear(capture, 1))
ip("link delete here")
try:
    while True:
        select.select([capture], [], [], 20)
        list(capture.frames())
except CaptureError as error:
    print(error)
""",
            "[]\n[1, 1]\nhere: The interface disappeared\n",
        )
