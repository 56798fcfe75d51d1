"""Every vector file, opened by our server and made again by our client."""

from ipaddress import ip_address
from json import loads

import pytest
from vectors.vector_file import AUTHENTIC, NAMES, VectorFile, load

from spassh.protocol import crypto, primitives
from spassh.protocol.errors import PacketError, Replayed, Unauthentic
from spassh.protocol.opening import Opened, ServerKeys, open_datagram
from spassh.protocol.packet import ClientKeys, seal
from spassh.protocol.request import Request
from spassh_server.replay import IDENTITY_SIZE, Entry, ReplayMemory

REPLAYED = [name for name in NAMES if load(name).headers["expect"] == "replayed"]


def admit(opened: Opened, vector: VectorFile) -> None:
    """Apply sections 6.2 and 6.3 with the server's own memory."""
    memory = ReplayMemory(capacity=2, floor=vector.number("floor", -1))
    entry = Entry(opened.identity[:IDENTITY_SIZE], opened.request.time)
    if "accepted from" in vector.headers:
        before = ip_address(vector.headers["accepted from"]).packed
        memory.admit(entry, before, entry.time)
    source = ip_address(vector.headers["source"]).packed
    memory.admit(entry, source, vector.number("now"))


def open_vector(vector: VectorFile) -> Opened:
    def find_psk(client: bytes) -> bytes:
        if client != vector.hex("client key"):
            raise Unauthentic("unknown client key")
        return vector.hex("psk")

    keys = ServerKeys(vector.hex("server secret"))
    return open_datagram(vector.packet, keys, find_psk)


def read_request(vector: VectorFile) -> Request:
    fields = loads(vector.headers["request"])
    address = ip_address(fields["address"]).packed if fields["address"] else b""
    command = tuple(fields["command"])
    return Request(**fields | {"address": address, "command": command})


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_has_the_outcome_that_it_expects(name: str) -> None:
    vector = load(name)
    if vector.headers["expect"] == "success":
        admit(open_vector(vector), vector)
        return
    with pytest.raises(PacketError) as caught:
        admit(open_vector(vector), vector)
    assert vector.headers["expect"] == caught.value.outcome
    assert vector.headers.get("reason", str(caught.value)) == str(caught.value)


@pytest.mark.parametrize("name", AUTHENTIC)
def test_an_authentic_vector_says_what_it_says(name: str) -> None:
    vector = load(name)
    opened = open_vector(vector)
    assert read_request(vector) == opened.request
    assert vector.hex("client key") == opened.client
    assert vector.hex("handshake hash") == opened.identity


@pytest.mark.parametrize("by", [crypto, primitives.fastest])
@pytest.mark.parametrize("name", AUTHENTIC)
def test_a_client_makes_the_same_packet_from_the_same_randomness(
    name: str, by: "primitives.Primitives", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(primitives, "fastest", by)
    vector = load(name)
    keys = ClientKeys(
        vector.hex("client secret"), vector.hex("server key"), vector.hex("psk")
    )
    sealed = seal(read_request(vector), keys, vector.hex("randomness"))
    assert vector.packet == sealed


@pytest.mark.parametrize("name", REPLAYED)
def test_a_duplicate_from_one_source_is_told_from_a_replay(name: str) -> None:
    vector = load(name)
    with pytest.raises(Replayed) as caught:
        admit(open_vector(vector), vector)
    same = vector.headers["source"] == vector.headers["accepted from"]
    assert caught.value.same_source is same
