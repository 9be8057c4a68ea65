"""What blocks, and what goes on meanwhile."""

import asyncio
import threading

import httpx2 as httpx
import pytest
from starlette.exceptions import HTTPException

from clipsieve.review.web.app import N_THREADS, create_app
from clipsieve.review.web.lanes import Lane
from review_client import ACCESS, ORIGIN, SHA, TAKE, SmallDesk, Visitor, verdict


class StuckDesk(SmallDesk):
    """Has a source, or a ledger, that does not answer until it is told to."""

    def __init__(self, ledger, stuck: str) -> None:
        super().__init__(ledger)
        self.stuck, self.goes_on = stuck, threading.Event()

    def _note(self, what, asked) -> None:
        if what == self.stuck:
            self.goes_on.wait(20)
        super()._note(what, asked)


async def answered(tasks: list, n: int) -> None:
    """Wait until so many are answered, for a while; the others have had their turn to ask."""
    async with asyncio.timeout(4):
        while sum(each.done() for each in tasks) < n:
            await asyncio.sleep(0.02)


def ask_all(
    app, visitor: Visitor, requests: list, then: list, desk: StuckDesk, *, n_refused: int = 0
) -> tuple[list[int], list[int]]:
    """Make many requests at once, and then others, which must be answered before those; return the statuses."""

    async def run():
        transport = httpx.ASGITransport(app=app)
        own = {"Origin": ORIGIN, "X-CSRF-Token": visitor.csrf, "Content-Type": "application/json"}
        cookies = dict(visitor.client.cookies)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=own, cookies=cookies) as client:
            waiting = [asyncio.create_task(client.request(*each[:2], json=each[2])) for each in requests]
            await asyncio.sleep(0.3)
            try:
                await answered(waiting, n_refused)
                async with asyncio.timeout(4):
                    answers = [(await client.request(*each[:2], json=each[2])).status_code for each in then]
            finally:
                desk.goes_on.set()
            return [answer.status_code for answer in await asyncio.gather(*waiting)], answers

    return asyncio.run(run())


PICTURE = ("GET", f"/images/0/{SHA[:16]}/small.webp", None)
READ = ("GET", "/api/state", None)


def decision():
    return ("POST", "/api/verdicts", {"verdicts": [verdict()]})


@pytest.mark.parametrize(
    ("stuck", "request_", "then"),
    [
        ("picture", PICTURE, [READ, decision(), ("POST", "/api/take", TAKE)]),
        ("decide", decision(), [READ, PICTURE, ("POST", "/api/search", {"text": "x"})]),
        ("take", ("POST", "/api/take", TAKE), [READ, PICTURE, decision()]),
    ],
)
def test_what_is_stuck_stops_nothing_else(ledger_of_all, visit, stuck, request_, then):
    desk = StuckDesk(ledger_of_all, stuck)
    visitor = visit(desk=desk).log_in()
    app = create_app(desk, ACCESS)
    stuck_ones, others = ask_all(app, visitor, [request_] * (N_THREADS + 8), then, desk)
    assert others == [200] * len(then)
    assert set(stuck_ones) == {200}


def test_of_many_that_wait_some_are_refused_at_once_and_told_when_to_come_again(ledger_of_all, visit):
    desk = StuckDesk(ledger_of_all, "picture")
    visitor = visit(desk=desk).log_in()
    stuck_ones, _ = ask_all(create_app(desk, ACCESS), visitor, [PICTURE] * 215, [READ], desk, n_refused=7)
    assert (stuck_ones.count(200), stuck_ones.count(503)) == (208, 7)


def test_nobody_waits_for_ever_and_the_lane_is_free_again_afterwards():
    goes_on = threading.Event()

    async def run():
        lane = Lane(1, wait_s=0.05)
        stuck = asyncio.create_task(lane.run(goes_on.wait, timeout=5))
        await asyncio.sleep(0.01)
        for _ in range(3):
            with pytest.raises(HTTPException) as refused:
                await lane.run(int)
            assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "2"})
        goes_on.set()
        return await stuck, await lane.run(int, "7"), [await each for each in [lane.run(int, "8") for _ in range(3)]]

    assert asyncio.run(run()) == (True, 7, [8, 8, 8])


def test_a_fault_frees_its_place():
    async def run():
        lane = Lane(1, wait_s=0.05)
        for _ in range(3):
            with pytest.raises(ValueError, match="invalid literal"):
                await lane.run(int, "x")
        return await lane.run(int, "1")

    assert asyncio.run(run()) == 1
