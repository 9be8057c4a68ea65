"""Each rule of the server, and somebody who tries to get round it."""

import json
import logging
import re

import pytest

from clipsieve.review.ledger import open_ledger
from clipsieve.review.web.access import Limit, Limits
from clipsieve.review.web.assets import load_assets
from clipsieve.review.web.limits import Buckets
from review_client import HOSTILE, ORIGIN, SHA, TAKE, SmallDesk, flat, ledger_fault

WRITES = ["take", "verdicts", "search", "similar", "group", "release", "renew", "learn"]
READS = ["/api/state", "/api/summary", "/api/openapi.json", f"/images/0/{SHA[:16]}/small.webp"]
PATHS = [
    "/",
    "/login",
    "/summary",
    "/api/state",
    "/images/0/x/small.webp",
    "/static/none.js",
    "/none",
    "/static/%2e%2e/app.py",
]
TRAVERSALS = [
    "../app.py",
    "..%2fapp.py",
    "%2e%2e%2fapp.py",
    "..%5capp.py",
    "%00",
    "/etc/passwd",
    "%252e%252e%252fapp.py",
    ".",
]


class TestForgedRequests:
    @pytest.mark.parametrize("path", READS)
    def test_nothing_is_read_without_a_login(self, visit, path):
        assert visit().get(path).status_code == 401

    @pytest.mark.parametrize("path", WRITES)
    def test_nothing_is_written_without_a_login_whatever_is_sent(self, visit, path, small_desk):
        assert visit().post(f"/api/{path}", b"{]").status_code == 401
        assert not small_desk.asked

    @pytest.mark.parametrize("path", WRITES)
    def test_a_write_from_another_origin_is_refused(self, reviewer, path, small_desk):
        n = len(small_desk.asked)
        elsewhere = [
            "https://evil.example",
            "http://127.0.0.1:9999",
            "null",
            "http://localhost:87655",
            "",
            ORIGIN + "/",
            None,
        ]
        for origin in elsewhere:
            assert reviewer.post(f"/api/{path}", TAKE, Origin=origin).status_code == 403
        for site in ("cross-site", "same-site", "none"):
            assert reviewer.post(f"/api/{path}", TAKE, **{"Sec-Fetch-Site": site}).status_code == 403
        assert len(small_desk.asked) == n

    @pytest.mark.parametrize("path", WRITES)
    def test_a_write_without_the_key_of_the_session_is_refused(self, reviewer, visit, path):
        other = visit().log_in("bob")
        for key in (None, "", "x", "0" * 64, other.csrf, reviewer.csrf[:-1]):
            assert reviewer.post(f"/api/{path}", TAKE, **{"X-CSRF-Token": key}).status_code == 403

    @pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    def test_a_write_that_a_form_could_make_is_refused(self, reviewer, kind):
        assert reviewer.post("/api/take", TAKE, **{"Content-Type": kind}).status_code == 415

    def test_a_login_from_another_site_is_refused(self, visit):
        visitor = visit()
        visitor.get("/login?token=the-token")
        for origin in ("https://evil.example", "null"):
            assert visitor.form("/login", {"name": "ann"}, Origin=origin).status_code == 403
        own_form = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}  # of a page without a referrer
        assert visitor.form("/login", {"name": "ann"}, **own_form).status_code == 303

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8765", "127.0.0.1:9999", "", "127.0.0.1.evil.example:8765"]
    )
    def test_a_name_that_is_not_the_servers_gets_nothing(self, reviewer, host):
        for path in ("/", "/api/state", "/login?token=the-token", "/static/review.js"):
            answer = reviewer.get(path, Host=host)
            assert (answer.status_code, "set-cookie" in answer.headers) == (400, False)

    @pytest.mark.parametrize(("host", "status"), [("localhost", 303), ("LOCALHOST:80", 303), ("localhost:8765", 400)])
    def test_a_host_without_a_port_means_the_port_of_the_scheme(self, visit, host, status):
        visitor = visit(origins=("http://localhost",), hosts=("localhost",))
        own = {"Host": host, "Origin": "http://localhost"}
        visitor.get("/login?token=the-token", **own)
        assert visitor.form("/login", {"name": "ann"}, **own).status_code == status

    def test_a_cookie_that_is_none_opens_nothing(self, visit):
        visitor = visit().log_in()
        name, value = next(iter(visitor.client.cookies.items()))
        visitor.client.cookies.clear()
        for forged in (
            "",
            "x",
            value[:-1],
            value + "x",
            "x" * 9000,
            "' OR 1=1 --",
            f"{value}; {name}=x",
        ):
            assert visitor.get("/api/state", Cookie=f"{name}={forged}").status_code == 401

    def test_a_session_of_another_run_opens_nothing(self, reviewer, visit, tmp_path):
        with open_ledger(tmp_path / "verdicts.db", "another run") as ledger:
            other = visit(desk=SmallDesk(ledger))
            other.client.cookies.update(reviewer.client.cookies)
            assert other.get("/api/state").status_code == 401


class TestWhatIsServed:
    @pytest.mark.parametrize("path", PATHS)
    def test_every_answer_carries_the_headers_that_bind_browsers(self, reviewer, path):
        own = {"Origin": ORIGIN, "X-CSRF-Token": reviewer.csrf}
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "PATCH", "BREW"):
            answer = reviewer.client.request(method, path, headers=own)
            assert answer.status_code < 500
            assert_bound(answer)

    def test_a_fault_in_the_server_shows_no_trace_of_its_inside(self, reviewer, small_desk, caplog):
        small_desk.fault = ZeroDivisionError("/secret/place")
        with caplog.at_level(logging.CRITICAL, logger="clipsieve.review"):
            for path in ("/api/state", "/", "/summary"):
                answer = reviewer.get(path)
                assert answer.status_code == 500
                assert_bound(answer)
                assert "secret" not in flat(answer)
                assert "Traceback" not in answer.text
        small_desk.fault = ledger_fault()
        assert reviewer.get("/api/state").headers["retry-after"] == "2"

    def test_the_log_holds_the_path_and_not_the_token(self, reviewer, small_desk, caplog):
        small_desk.fault = ZeroDivisionError("x")
        reviewer.get("/?token=the-token")
        assert "the-token" not in caplog.text
        assert "'/'" in caplog.text

    @pytest.mark.parametrize("path", TRAVERSALS)
    def test_no_parameter_leads_to_a_file(self, reviewer, small_desk, path):
        for around in ("/static/{}", "/images/{}/" + SHA[:16] + "/small.webp", "/images/0/{}/small.webp"):
            answer = reviewer.get(around.format(path))
            assert answer.status_code == 404, around
        answer = reviewer.get(f"/images/0/{SHA[:16]}/{path}.webp")
        assert answer.status_code == 404
        assert not [asked for asked in small_desk.asked if asked[0] == "picture"]

    @pytest.mark.parametrize(
        "path",
        [
            "3/" + SHA[:16],
            "0/" + "b" * 16,
            "00/" + SHA[:16],
            "-1/" + SHA[:16],
            "\u0660/" + SHA[:16],
            "99999999999/" + SHA[:16],
        ],
    )
    def test_a_picture_of_another_run_is_not_there(self, reviewer, path):
        answer = reviewer.get(f"/images/{path}/small.webp")
        assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")

    def test_static_files_are_those_of_the_list(self, visit):
        visitor = visit()
        for name, asset in load_assets().items():
            plain = visitor.get(f"/static/{name}")
            assert (plain.content, plain.headers["cache-control"]) == (asset.content, "no-cache")
            assert visitor.get(f"/static/{name}", **{"If-None-Match": plain.headers["etag"]}).status_code == 304
            lasting = visitor.get(f"/static/{name}?v={asset.version}")
            assert "immutable" in lasting.headers["cache-control"]
        assert visitor.get("/static/").status_code == 404
        assert visitor.get("/static/review.html.j2").status_code == 404

    def test_browsers_find_the_icon_that_they_ask_for_unasked(self, visit):
        answer = visit().get("/favicon.ico")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
        assert answer.content == load_assets()["icon.svg"].content

    def test_script_in_names_and_captions_is_data(self, reviewer):
        for path in ("/", "/summary"):
            text = reviewer.get(path).text
            assert "<script>alert" not in text
            assert "{{7*7}}" in text.replace("\\u0027", "'")
        taken = reviewer.post("/api/take", TAKE)
        assert taken.headers["content-type"] == "application/json"
        assert taken.json()["items"][0]["caption"] == HOSTILE

    def test_a_name_that_is_script_is_shown_as_text(self, visit):
        visitor = visit()
        visitor.get("/login?token=the-token")
        page = visitor.form("/login", {"name": HOSTILE * 2})
        assert "<script>alert" not in page.text
        page = visit().log_in(HOSTILE).get("/").text
        assert "<script>alert" not in page

    def test_pages_hold_no_script_or_style_of_their_own(self, reviewer):
        for path in ("/", "/summary", "/none"):
            text = reviewer.get(path).text
            assert not re.search(r"<script(?![^>]*(src=\"/static/|type=\"application/json\"))", text)
            assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://", text)

    def test_there_are_no_pages_of_the_framework(self, reviewer):
        for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"):
            assert reviewer.get(path).status_code == 404
        assert "/api/take" in reviewer.get("/api/openapi.json").json()["paths"]

    def test_requests_are_limited_by_person_and_by_address(self, visit):
        limits = Limits(calls=Limit(4, 0.01), searches=Limit(1, 0.01), strangers=Limit(8, 0.01))
        visitor = visit(limits=limits).log_in()
        assert visitor.post("/api/search", {"text": "x"}).status_code == 200
        refused = visitor.post("/api/search", {"text": "x"})
        assert (refused.status_code, int(refused.headers["retry-after"])) == (429, 100)
        assert json.loads(refused.text)["hint"] == "Try again in 100 s"
        assert [visitor.get("/api/state").status_code for _ in range(4)] == [200, 200, 200, 429]
        visitor.client.cookies.clear()
        assert [visitor.get("/login").status_code for _ in range(7)][-2:] == [200, 429]

    def test_fifty_people_who_decide_ten_times_a_second_meet_no_limit(self):
        now = [0.0]
        calls = Buckets(Limits().calls, clock=lambda: now[0])
        for tick in range(100):
            now[0] = tick / 10
            assert not any(calls.take(f"reviewer {i}") or calls.take(f"reviewer {i}") for i in range(50))


def assert_bound(answer) -> None:
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(
        "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'"
    )
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["referrer-policy"] in ("same-origin", "no-referrer")
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers
