"""Groups as a queue: led by the first image that is not done."""

import numpy as np

from clipsieve.review.groups import Groups


def test_a_group_is_led_by_its_first_row_that_is_not_done_and_goes_when_there_is_none():
    groups = Groups([np.array([7, 2, 5]), np.array([1, 9])])
    done = np.zeros(10, dtype=bool)
    assert groups.leaders(done).tolist() == [7, 1]
    done[[7, 1]] = True
    assert groups.leaders(done).tolist() == [2, 9]
    done[9] = True
    assert groups.leaders(done).tolist() == [2]
    done[[2, 5]] = True
    assert groups.leaders(done).tolist() == []
    assert (groups.n, groups.size_of(5), groups.size_of(9), groups.size_of(0)) == (2, 3, 2, 1)


def test_there_may_be_none():
    assert Groups([]).leaders(np.zeros(3, dtype=bool)).tolist() == []
