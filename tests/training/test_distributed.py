"""How processes find each other; whom they ask is JAX's own matter."""

import socket

import jax
import pytest

from jaxsep.training import distributed
from jaxsep.training.distributed import DistributedError


@pytest.fixture
def initialized(monkeypatch) -> list:
    """What JAX was asked to start with."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments: calls.append(arguments))
    return calls


def test_a_process_joins_with_what_it_was_given(initialized):
    for arguments in ((None, None, None), ("host:1234", 2, 0)):
        distributed.start(*arguments)
    assert initialized == [(None, None, None), ("host:1234", 2, 0)]


def test_others_wait_until_the_first_one_listens(initialized, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        distributed.start(address, 2, 1)
    assert initialized == [(address, 2, 1)]
    monkeypatch.setattr(distributed, "MEETING_SECONDS", 0)
    with pytest.raises(DistributedError, match=f"nobody listens at .*{address}"):
        distributed.start(address, 2, 1)
    assert len(initialized) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("host:1234", None, 0), "belong together"),
        ((None, 2, None), "belong together"),
        (("host", 2, 0), "--coordinator_address=host isn't HOST:PORT"),
        (("host:port", 2, 0), "--coordinator_address=host:port isn't HOST:PORT"),
        (("host:1234", 2, 2), "--process_id=2 must be 0 to 1"),
        (("host:1234", 2, -1), "--process_id=-1 must be 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(initialized, arguments, words):
    with pytest.raises(DistributedError, match=words):
        distributed.start(*arguments)
    assert not initialized


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("coordinator_address should be defined."), None),
        (ValueError("Number of processes is wrong."), "Number of processes is wrong"),
        (RuntimeError("Deadline\nexceeded"), r"the 2 processes didn't meet at host:1 \(Deadline\)"),
    ],
)
def test_only_where_there_is_no_cluster_a_process_goes_on_alone(monkeypatch, error, words):
    def fail(*_):
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    if words is None:
        return distributed.start(None, None, None)
    with pytest.raises(DistributedError, match=words):
        distributed.start("host:1", 2, 0)
