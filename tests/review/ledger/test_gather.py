"""Many who write at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipsieve.errors import LedgerError
from clipsieve.review.ledger.gather import Gathered


def values(*names):
    return [{"verdict_id": name} for name in names]


class Disk:
    """Writes when it is let; remembers what it was given at once."""

    def __init__(self):
        self.written, self.failure = [], None
        self.may_go, self.is_writing = threading.Event(), threading.Event()

    def write(self, rows):
        self.is_writing.set()
        self.may_go.wait(5)
        if self.failure:
            raise self.failure
        names = [row["verdict_id"] for row in rows]
        new = set(names) - {name for batch in self.written for name in batch}
        self.written.append(names)
        return new


@pytest.fixture
def disk():
    return Disk()


def crowd(disk, batches):
    """Send the first, and while it is being written all others; return what came of each."""
    gathered = Gathered(disk.write)
    with ThreadPoolExecutor(len(batches)) as pool:
        first = pool.submit(gathered.append, batches[0])
        assert disk.is_writing.wait(5)
        others = []
        for batch in batches[1:]:
            others.append(pool.submit(gathered.append, batch))
            while len(gathered._waiting) < len(others):
                pass
        disk.may_go.set()
    return [first, *others]


def test_those_who_wait_are_written_together_and_each_hears_what_was_new(disk):
    done = crowd(disk, [values("a"), values("b", "a"), values("c", "b"), values("d")])
    assert disk.written == [["a"], ["b", "a", "c", "b", "d"]]
    assert [future.result() for future in done] == [{"a"}, {"b"}, {"c"}, {"d"}]


def test_all_hear_of_a_failure_and_the_next_try_is_a_new_one(disk):
    disk.failure = LedgerError("no room", hint="make room")
    done = crowd(disk, [values("a"), values("b"), values("c")])
    errors = [future.exception() for future in done]
    assert [(str(error), type(error)) for error in errors] == [(str(disk.failure), LedgerError)] * 3
    assert len(set(map(id, errors))) == 3
    gathered = Gathered(disk.write)
    with pytest.raises(LedgerError):
        gathered.append(values("a"))
    disk.failure = None
    assert gathered.append(values("a")) == {"a"}


def test_nobody_waits_for_ever_for_one_who_was_interrupted(disk):
    disk.failure = KeyboardInterrupt()
    first, *others = crowd(disk, [values("a"), values("b"), values("c")])
    assert isinstance(first.exception(), KeyboardInterrupt)
    kinds = [type(future.exception()) for future in others]
    assert sorted(kind.__name__ for kind in kinds) == ["KeyboardInterrupt", "LedgerError"]


def test_who_waits_too_long_gives_up_and_is_not_written(disk):
    gathered = Gathered(disk.write, wait_s=0.05)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gathered.append, values("a"))
        assert disk.is_writing.wait(5)
        with pytest.raises(LedgerError, match="do not come to an end") as refused:
            gathered.append(values("b"))
        assert refused.value.state == "nothing was written"
        disk.may_go.set()
        assert first.result() == {"a"}
    assert disk.written == [["a"]]
    assert gathered.append(values("b")) == {"b"}
