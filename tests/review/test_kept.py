"""What is made once and kept within bounds."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clipsieve.review.kept import ByteBounded, Once
from clipsieve.review.prefetch import Prefetcher


def test_the_one_not_asked_for_the_longest_goes_first():
    kept: ByteBounded[str, bytes] = ByteBounded(10, len)
    for key in "abc":
        kept.put(key, b"123")
    assert kept.get("a") == b"123"
    kept.put("d", b"1234")
    assert [kept.get(key) is not None for key in "abcd"] == [True, False, True, True]
    kept.put("a", b"1")
    assert kept.n_bytes == 8
    kept.put("a", bytes(11))  # larger than all there is room for
    assert (kept.get("a"), kept.n_bytes) == (None, 7)


def test_it_stays_within_bounds_with_many_threads():
    kept: ByteBounded[int, bytes] = ByteBounded(1000, len)
    keys = np.random.default_rng(1).integers(0, 50, 4000).tolist()
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda key: (kept.put(key, bytes(key)), kept.get(key)), keys))
    assert kept.n_bytes == sum(len(kept.get(key) or b"") for key in range(50)) <= 1000


def test_a_thing_is_made_once_for_all_who_ask_meanwhile_and_again_later():
    once: Once[str, int] = Once()
    made = []

    def make() -> int:
        made.append(1)
        time.sleep(0.5)
        return len(made)

    with ThreadPoolExecutor(32) as threads:
        assert set(threads.map(lambda _: once.do("a", make), range(32))) == {1}
    assert once.do("a", make) == 2


def test_all_who_ask_get_the_error_and_the_next_one_tries_anew():
    once: Once[str, int] = Once()

    def fail() -> int:
        time.sleep(0.3)
        raise OSError("gone")

    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(once.do, "a", fail) for _ in range(4)]
        assert {str(each.exception()) for each in waiting} == {"gone"}
    assert once.do("a", lambda: 3) == 3


def test_the_newest_wishes_come_first_and_the_oldest_are_forgotten():
    done: list[str] = []
    go, begun, finished = threading.Event(), threading.Event(), threading.Event()

    def work(wish: str) -> None:
        begun.set()
        go.wait(10)
        done.append(wish)
        if len(done) == 6:
            finished.set()

    ahead: Prefetcher[str] = Prefetcher(work, 1, most=5)
    ahead.wish(["first"])
    assert begun.wait(10)
    ahead.wish(["a", "b", "c"])
    ahead.wish(["d", "e", "b"])  # one was wished for before
    ahead.wish(["f"])
    go.set()
    assert finished.wait(10)
    ahead.close()
    assert done == ["first", "f", "d", "e", "b", "a"]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_closed_it_works_no_more(n_threads):
    done: list[int] = []
    ahead: Prefetcher[int] = Prefetcher(done.append, n_threads)
    ahead.close()
    ahead.wish([1])
    time.sleep(0.05)
    assert done == []
