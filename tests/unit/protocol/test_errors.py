from spassh.protocol.errors import (
    Malformed,
    NotOurs,
    PacketError,
    Replayed,
    Stale,
    TextFormError,
    Unauthentic,
)


def test_each_error_has_the_outcome_that_vector_files_name() -> None:
    outcomes = {
        NotOurs: "not-ours",
        Unauthentic: "unauthentic",
        Malformed: "malformed",
        Stale: "stale",
        Replayed: "replayed",
    }
    assert outcomes == {kind: kind.outcome for kind in PacketError.__subclasses__()}
    assert PacketError.outcome == "rejected"


def test_the_errors_of_packets_are_no_value_errors() -> None:
    # Else "except ValueError" around a parser would swallow what must be counted.
    assert not issubclass(PacketError, ValueError)


def test_a_broken_text_is_no_packet_error() -> None:
    assert issubclass(TextFormError, ValueError)
    assert not issubclass(TextFormError, PacketError)


def test_a_replay_counts_as_an_attack_until_somebody_knows_better() -> None:
    assert Replayed("accepted before").same_source is False
