"""What the other tests ask the network with."""

from firewall.network import CLIENT, PATIENCE, STRANGER, Network, _answer


def test_ends_are_told_apart_in_whichever_order_they_queue(network: Network) -> None:
    dialled = [network._dial(source, 22) for source in (CLIENT[4], STRANGER[4])]
    assert [_answer(one, PATIENCE) for one in dialled] == ["open", "open"]
    dialled.reverse()
    ends = network._accept_all(dialled, 22)
    names = [one.getsockname() for one in dialled]
    assert [one.getpeername() for one in ends] == names
    for one in (*dialled, *ends):
        one.close()
