"""A process snapshot: no load while fresh, one loader, others served the old value."""

import os
import threading

import pytest

from normalization.snapshots import ProcessSnapshot


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Counts loads; can hold one until it is told to go on."""

    def __init__(self) -> None:
        self.loads = 0
        self.gate: threading.Event | None = None
        self.entered = threading.Event()

    def __call__(self, previous: int | None) -> int:
        self.loads += 1
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(10)
        return self.loads


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def snapshot(source: Source, clock: Clock) -> ProcessSnapshot[int]:
    return ProcessSnapshot(source, lambda: 5.0, clock)


def test_a_fresh_value_is_served_without_loading(
    snapshot: ProcessSnapshot[int], source: Source, clock: Clock
) -> None:
    assert [snapshot.get(), snapshot.get()] == [1, 1]
    clock.now += 4.99
    assert snapshot.get() == 1
    clock.now += 0.02
    assert snapshot.get() == 2
    assert source.loads == 2


def test_while_one_thread_loads_the_others_get_the_old_value(
    snapshot: ProcessSnapshot[int], source: Source, clock: Clock
) -> None:
    assert snapshot.get() == 1
    clock.now += 10
    source.gate = threading.Event()
    source.entered.clear()
    loaded: list[int] = []
    loader = threading.Thread(target=lambda: loaded.append(snapshot.get()))
    loader.start()
    assert source.entered.wait(10)
    assert [snapshot.get() for _ in range(50)] == [1] * 50
    source.gate.set()
    loader.join()
    assert loaded == [2]
    assert source.loads == 2


def test_the_first_callers_of_a_process_share_one_load(
    snapshot: ProcessSnapshot[int], source: Source
) -> None:
    source.gate = threading.Event()
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(snapshot.get())) for _ in range(20)]
    for thread in threads:
        thread.start()
    source.gate.set()
    for thread in threads:
        thread.join()
    assert got == [1] * 20
    assert source.loads == 1


def test_an_invalidation_during_a_load_makes_the_next_call_load_again(
    snapshot: ProcessSnapshot[int], source: Source, clock: Clock
) -> None:
    snapshot.get()
    clock.now += 10
    source.gate = threading.Event()
    source.entered.clear()
    loader = threading.Thread(target=snapshot.get)
    loader.start()
    assert source.entered.wait(10)
    snapshot.invalidate()
    source.gate.set()
    loader.join()
    assert snapshot.get() == 3


def test_forget_drops_the_value(snapshot: ProcessSnapshot[int]) -> None:
    snapshot.get()
    snapshot.forget()
    assert snapshot.peek() is None
    assert snapshot.get() == 2


def test_a_child_forked_while_a_thread_loads_can_load_itself(
    snapshot: ProcessSnapshot[int], source: Source, clock: Clock
) -> None:
    snapshot.get()
    clock.now += 10
    source.gate = threading.Event()
    source.entered.clear()
    loader = threading.Thread(target=snapshot.get)
    loader.start()
    assert source.entered.wait(10)
    child = os.fork()
    if child == 0:
        source.gate = None
        os._exit(0 if snapshot.get() >= 3 else 1)
    _, status = os.waitpid(child, 0)
    source.gate.set()
    loader.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_value_that_was_put_during_a_load_is_not_undone_by_it(
    snapshot: ProcessSnapshot[int], source: Source, clock: Clock
) -> None:
    snapshot.get()
    clock.now += 10
    source.gate = threading.Event()
    source.entered.clear()
    loaded: list[int] = []
    loader = threading.Thread(target=lambda: loaded.append(snapshot.get()))
    loader.start()
    assert source.entered.wait(10)
    snapshot.put(50, int.__gt__)
    assert snapshot.get() == 50
    source.gate.set()
    loader.join()
    assert loaded == [50]
    assert source.loads == 2
    assert snapshot.get() == 3  # looked again at once


def test_only_a_newer_value_is_put(snapshot: ProcessSnapshot[int]) -> None:
    snapshot.put(50, int.__gt__)
    assert snapshot.peek() is None  # a process that serves nothing yet loads what it serves first
    assert snapshot.get() == 1
    snapshot.put(0, int.__gt__)
    assert snapshot.get() == 1
    snapshot.put(50, int.__gt__)
    assert snapshot.get() == 50
