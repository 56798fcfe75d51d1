from spassh.protocol import limits


def test_the_fields_of_a_datagram_add_up() -> None:
    assert limits.OVERHEAD == 4 + 32 + 48 + 16 + 16
    assert limits.ACCESS_PAYLOAD == 76
    assert limits.COMMAND_PAYLOAD == 1084


def test_there_are_two_sizes_of_datagrams() -> None:
    assert limits.DATAGRAM_SIZES == (192, 1200)


def test_the_largest_datagram_fits_the_smallest_ipv6_mtu() -> None:
    assert max(limits.DATAGRAM_SIZES) + 8 + 40 <= 1280


def test_the_window_is_a_minute_and_the_longest_lifetime_a_day() -> None:
    assert limits.WINDOW_MS == 60 * 1000
    assert limits.MAX_LIFETIME == 24 * 60 * 60


def test_the_knock_port_is_the_one_that_fwknop_users_know() -> None:
    assert limits.DEFAULT_KNOCK_PORT == 62201


def test_a_passphrase_takes_as_much_memory_as_the_documents_say() -> None:
    """RFC 7914 section 2: 128 * N * r bytes."""
    assert 128 * limits.SCRYPT_COST * limits.SCRYPT_BLOCK_SIZE == 128 * 1024 * 1024
    assert limits.SCRYPT_PARALLELISM == 1
