"""Two implementations, one protocol: each opens what the other seals."""

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from vectors.strategies import (
    client_keys,
    keys32,
    payloads,
    randomness,
    repeatable,
    requests,
)
from vectors.vector_file import AUTHENTIC, NAMES, VectorFile, load

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import Malformed
from spassh.protocol.limits import WINDOW_MS
from spassh.protocol.opening import ServerKeys, open_datagram
from spassh.protocol.packet import ClientKeys, seal
from spassh.protocol.request import Request, decode, encode

pytest.importorskip("noise", reason="noiseprotocol is not installed (it is on PyPI)")

from independent import packet


def spell(request: Request) -> dict[str, Any]:
    """Put our request into the words of the other implementation."""
    address = str(ip_address(request.address)) if request.address else ""
    fields = {"address": address, "command": list(request.command)}
    return request._asdict() | fields


def run(vector: VectorFile) -> packet.Opened:
    """Open a vector and apply sections 6.2 and 6.3 to it."""
    opened = packet.open_packet(
        vector.packet,
        vector.hex("server secret"),
        vector.hex("server key"),
        {vector.hex("client key"): vector.hex("psk")},
    )
    if "accepted from" in vector.headers:
        raise packet.RefusedError("replayed")
    if abs(vector.number("now") - opened.request["time"]) > WINDOW_MS:
        raise packet.RefusedError("stale")
    if opened.request["time"] <= vector.number("floor", -1):
        raise packet.RefusedError("stale")
    return opened


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_has_the_same_outcome_here(name: str) -> None:
    vector = load(name)
    if vector.headers["expect"] != "success":
        with pytest.raises(packet.RefusedError) as caught:
            run(vector)
        assert vector.headers["expect"] == caught.value.outcome
        return
    opened = run(vector)
    assert json.loads(vector.headers["request"]) == opened.request
    assert vector.hex("handshake hash") == opened.identity


@pytest.mark.parametrize("name", AUTHENTIC)
def test_a_vector_is_sealed_to_the_same_bytes_here(name: str) -> None:
    vector = load(name)
    sealed = packet.seal(
        json.loads(vector.headers["request"]),
        vector.hex("client secret"),
        vector.hex("server key"),
        vector.hex("psk"),
        vector.hex("randomness"),
    )
    assert vector.packet == sealed


@repeatable
@given(requests, client_keys, keys32, randomness)
def test_what_we_seal_is_opened_there(
    request: Request, client: ClientKeys, secret: bytes, random: bytes
) -> None:
    server = PrivateKey(secret).public
    sealed = seal(request, client._replace(server=server), random)
    public = PrivateKey(client.secret).public
    opened = packet.open_packet(sealed, secret, server, {public: client.psk})
    assert spell(request) == opened.request
    assert public == opened.client


@repeatable
@given(requests, client_keys, keys32, randomness)
def test_what_is_sealed_there_we_open(
    request: Request, client: ClientKeys, secret: bytes, random: bytes
) -> None:
    server = ServerKeys(secret)
    sealed = packet.seal(
        spell(request), client.secret, server.public, client.psk, random
    )
    opened = open_datagram(sealed, server, lambda _: client.psk)
    assert request == opened.request
    assert PrivateKey(client.secret).public == opened.client
    assert seal(request, client._replace(server=server.public), random) == sealed


@settings(repeatable, max_examples=1000)
@given(payloads)
def test_both_read_any_payload_alike(payload: bytes) -> None:
    try:
        expected = packet.decode(payload)
    except packet.RefusedError:
        with pytest.raises(Malformed):
            decode(payload)
        return
    request = decode(payload)
    assert expected == spell(request)
    assert payload == packet.encode(expected) == encode(request)
