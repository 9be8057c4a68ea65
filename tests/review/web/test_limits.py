"""Token buckets."""

import pytest

from clipsieve.review.web.access import Limit
from clipsieve.review.web.limits import MAX_KEYS, Buckets, address_key


def test_a_burst_is_let_through_and_then_so_many_a_second():
    now = [100.0]
    buckets = Buckets(Limit(burst=3, per_s=0.5), clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 2]
    assert buckets.take("b") == 0
    now[0] += 2
    assert [buckets.take("a"), buckets.take("a")] == [0, 2]
    now[0] += 1e6
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 2], "no more than a burst is saved up"


def test_what_did_not_count_is_given_back():
    buckets = Buckets(Limit(burst=1, per_s=1e-6), clock=lambda: 0.0)
    for _ in range(5):
        assert buckets.take("a") == 0
        buckets.give_back("a")
    buckets.give_back("a")
    assert [buckets.take("a") > 0, buckets.take("a") > 0] == [False, True]


def test_no_crowd_of_keys_fills_the_memory():
    buckets = Buckets(Limit(burst=1, per_s=1e-6), clock=lambda: 0.0)
    for i in range(MAX_KEYS + 10):
        buckets.take(str(i))
    assert len(buckets._buckets) == MAX_KEYS
    assert buckets.take(str(MAX_KEYS)) > 0


@pytest.mark.parametrize(
    ("client", "key"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        (("2001:db8:1:2:ffff::", 9), "2001:db8:1:2::"),
        (("a.socket", 0), "a.socket"),
        (None, ""),
    ],
)
def test_a_household_is_one_address(client, key):
    assert address_key(client) == key
