"""Run a function in a forked child, for what a process can do to itself only once."""

import os
import pickle
import traceback
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NOBODY = 65534


def in_child(work: Callable[[], T]) -> T:
    """Return what `work` returns in a child process.

    Raises:
        AssertionError: `work` raised; the text is its traceback.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Whatever happens, the child must not go on with its copy of the tests.
        try:
            os.close(read_end)
            try:
                result: tuple[bool, object] = (True, work())
            except BaseException:  # noqa: BLE001 - it is the parent's to judge
                result = (False, traceback.format_exc())
            with os.fdopen(write_end, "wb") as file:
                pickle.dump(result, file)
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as file:
        data = file.read()
    _, status = os.waitpid(pid, 0)
    assert data, f"the child ended with status {status} and without a result"
    succeeded, value = pickle.loads(data)  # noqa: S301 - our own child wrote it
    assert succeeded, value
    result_of_work: T = value
    return result_of_work
