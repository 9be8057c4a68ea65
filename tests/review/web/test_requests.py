"""What is sent: bodies without end, fields out of bounds, and text that is code to others."""

import asyncio
from dataclasses import replace

import pytest
from starlette.responses import Response

from clipsieve.review.web.access import Limit, Limits
from clipsieve.review.web.security import Guard
from review_client import ACCESS, HOST, HOSTILE, ORIGIN, TAKE, verdict


class TestWhatIsSent:
    def test_a_form_of_ten_megabytes_is_not_read(self, visit):
        visitor = visit()

        def body():
            for _ in range(160):
                yield b"x" * 65536

        kind = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
        answer = visitor.client.post("/login", content=b"x" * (10 << 20), headers=kind)
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert visitor.client.post("/login", content=body(), headers=kind).status_code == 413

    def test_a_body_without_a_length_is_read_to_the_limit_and_no_further(self):
        pieces = []

        async def receive():
            pieces.append(b"x" * 65536)
            return {"type": "http.request", "body": pieces[-1], "more_body": True}

        assert asyncio.run(guarded(receive)) == 413
        assert len(pieces) == 17

    def test_a_body_that_never_ends_is_given_up(self):
        async def receive():
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        assert asyncio.run(guarded(receive, body_timeout_s=0.01)) == 408

    def test_json_that_lies_deep_is_refused_before_it_is_parsed(self, reviewer):
        for body in (b"[" * 100_000, b'{"a":' * 5000, b'{"queue": [[[[[[[[[]]]]]]]]]}'):
            assert reviewer.post("/api/take", body).status_code == 400
        assert reviewer.post("/api/search", {"text": "[" * 400 + '"' + "{" * 50}).status_code == 200

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b'{"n": ' + b"9" * 5000 + b"}", b"\x00", b"{}{}"]
    )
    def test_what_is_no_json_is_refused_in_words(self, reviewer, body):
        answer = reviewer.post("/api/take", body)
        assert answer.status_code in (400, 422)
        assert set(answer.json()) == {"error", "hint"}

    @pytest.mark.parametrize(
        "changes",
        [
            {"verdict_id": "1"},
            {"verdict_id": "../../etc/passwd"},
            {"undoes": "x' OR '1'='1"},
            {"sha256": "A" * 64},
            {"sha256": "a" * 63},
            {"sha256": "a" * 64 + "\n"},
            {"row": -1},
            {"row": 1.5},
            {"row": "0"},
            {"row": True},
            {"row": 2**31},
            {"image_id": ""},
            {"image_id": "a\x00b"},
            {"image_id": "\ud800"},
            {"image_id": "x" * 4097},
            {"image_id": None},
            {"choice": "delete"},
            {"voice": "admin"},
            {"made": 0},
            {"made": "yesterday"},
            {"made": "2026-11-28T12:00:00"},
            {"made": "0001-01-01T00:00:00+14:00"},
            {"made": "9999-12-31T23:59:59-14:00"},
            {"concepts": ["x"] * 51},
            {"concepts": [""]},
            {"concepts": "gun"},
            {"note": "x" * 2001},
            {"note": "\x00"},
            {"score": 1.5},
            {"score": float("nan")},
            {"score": float("inf")},
            {"score": "0.5"},
            {"duration_s": -1},
            {"duration_s": 1e300},
            {"annotator": "bob"},
            {"role": "adjudicator"},
            {"__proto__": {}},
        ],
        ids=lambda changes: str(changes)[:40],
    )
    def test_a_decision_out_of_bounds_is_refused_and_nothing_of_the_batch_is_written(
        self, reviewer, small_desk, changes
    ):
        n = len(small_desk.asked)
        answer = reviewer.post("/api/verdicts", {"verdicts": [verdict(), verdict(**changes)]})
        assert answer.status_code == 422
        assert len(small_desk.asked) == n

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("take", {"queue": {"name": "../../x"}}),
            ("take", {"queue": {"name": "highest", "value": "\x00"}}),
            ("take", {"queue": {"name": "highest", "path": "/etc"}}),
            ("take", TAKE | {"n": 101}),
            ("take", TAKE | {"n": 0}),
            ("take", TAKE | {"skip": [-1]}),
            ("take", TAKE | {"skip": list(range(5001))}),
            ("search", {"text": ""}),
            ("search", {"text": "x" * 501}),
            ("search", {"text": "x", "n": 201}),
            ("similar", {"row": "../0"}),
            ("similar", {"row": 1e99}),
            ("group", {"row": 0, "min_similarity": 0.1}),
            ("group", {"row": 0, "min_similarity": 1.1}),
            ("release", {"rows": [None]}),
            ("learn", {"name": "../../x"}),
            ("verdicts", {"verdicts": []}),
            ("verdicts", {"verdicts": [verdict()] * 201}),
        ],
    )
    def test_a_question_out_of_bounds_is_refused(self, reviewer, small_desk, path, value):
        n = len(small_desk.asked)
        assert reviewer.post(f"/api/{path}", value).status_code == 422
        assert len(small_desk.asked) == n

    def test_what_was_sent_is_not_repeated_in_the_refusal(self, reviewer):
        answer = reviewer.post("/api/verdicts", {"verdicts": [verdict(note=7, **{HOSTILE: HOSTILE})]})
        assert answer.status_code == 422
        assert "script" not in answer.text

    @pytest.mark.parametrize("field", ["image_id", "note", "concepts", "classifier", "queue", "group_id"])
    def test_metacharacters_of_sql_are_text(self, reviewer, small_desk, field):
        text = "'); DROP TABLE verdicts;--"
        answer = reviewer.post(
            "/api/verdicts", {"verdicts": [verdict(**{field: [text] if field == "concepts" else text})]}
        )
        assert answer.status_code == 200
        got = getattr(small_desk.asked[-1][1][0], field)
        assert got in (text, (text,))

    def test_metacharacters_of_sql_in_names_and_passwords_open_nothing(self, visit, accounts):
        visitor = visit(token=None, has_accounts=True, limits=Limits(failed_by_address=Limit(100, 1)))
        for text in ("' OR 1=1 --", '" OR ""="', "ann'--", "ann%", "_nn"):
            assert visitor.form("/login", {"name": text, "password": "a long password"}).status_code == 403
            assert visitor.form("/login", {"name": "ann", "password": text}).status_code == 403


async def guarded(receive, **changes) -> int:
    """Send a body piece by piece to the outermost layer; return the status."""
    sent = []

    async def send(message):
        sent.append(message)

    async def within(scope, receive, send):
        raise AssertionError("it was let through")

    scope = {"type": "http", "method": "POST", "path": "/login", "headers": [(b"host", HOST.encode())], "server": None}
    guard = Guard(within, replace(ACCESS, **changes), lambda scope, status, what: Response(what, status))
    await guard(scope, receive, send)
    return sent[0]["status"]
