"""Coming in: tokens, names, passwords, cookies, and how often somebody may try."""

import pytest

from clipsieve.review.records import Role
from clipsieve.review.web.access import Limit, Limits
from review_client import ORIGIN, flat


class TestComingIn:
    def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(self, visit):
        visitor = visit()
        answer = visitor.get("/login?token=the-token", **{"Sec-Fetch-Site": "cross-site"})
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "the-token" not in flat(answer)
        # A step that the page makes, and no redirect: to that, a browser that came from elsewhere sends no strict cookie.
        assert (answer.status_code, "url=/login" in answer.text) == (200, True)
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "name=" in visitor.get("/login").text

    def test_a_wrong_token_is_refused_and_soon_not_even_compared(self, visit):
        visitor = visit(limits=Limits(failed_by_address=Limit(burst=3, per_s=0.01)))
        statuses = [visitor.get(f"/login?token=wrong{i}").status_code for i in range(5)]
        assert statuses == [403, 403, 403, 429, 429]
        assert visitor.get("/login?token=").status_code == 429
        assert visitor.get("/login?token=the-token").status_code == 200, "the right one always opens"

    @pytest.mark.parametrize(
        "token", ["", "the-toke", "the-token%00", "THE-TOKEN", "%ff", "the-token&token=x", "%ED%A0%80"]
    )
    def test_what_is_almost_the_token_is_not(self, visit, token):
        assert visit().get(f"/login?token={token}").status_code == 403

    def test_nobody_logs_in_without_the_token(self, visit):
        visitor = visit()
        assert visitor.form("/login", {"name": "ann"}).status_code == 403
        forged = {"Cookie": "clipsieve_00000000_ticket=x"}
        assert visitor.form("/login", {"name": "ann"}, **forged).status_code == 403

    def test_a_preset_name_is_taken_from_the_token_alone(self, visit):
        visitor = visit(annotator="carol")
        assert "url=/" in visitor.get("/login?token=the-token").text
        assert visitor.get("/api/state").json()["annotator"] == "carol"

    def test_a_session_of_another_name_ends_where_a_name_is_given(self, visit):
        ann = visit(annotator="ann")
        ann.get("/login?token=the-token")
        old = dict(ann.client.cookies)
        bob = visit(annotator="bob")
        bob.client.cookies.update(old)
        assert bob.get("/").headers["location"] == "/login", "it may not decide as ann here"
        assert ann.get("/api/state").status_code == 401, "and it has ended"
        answer = bob.get("/login?token=the-token")
        bob.client.cookies = dict(answer.cookies)
        assert bob.get("/api/state").json()["annotator"] == "bob"

    def test_a_preset_name_has_the_role_of_this_start(self, visit):
        before = visit(annotator="carol")
        before.get("/login?token=the-token")
        after = visit(annotator="carol", role=Role.REVIEWER)
        after.client.cookies.update(before.client.cookies)
        assert after.get("/api/state").json()["role"] == Role.REVIEWER

    @pytest.mark.parametrize("name", ["", " ", "x" * 81, "a\x00b", "a\nb", "a\u202eb", "\u200b", "\ud7ff\uffff"])
    def test_a_name_is_text_that_can_be_seen(self, visit, name):
        visitor = visit()
        visitor.get("/login?token=the-token")
        assert visitor.form("/login", {"name": name}).status_code == 422

    def test_a_session_outlives_the_server_and_ends_with_the_logout(self, visit):
        first = visit().log_in()
        second = visit(token="another start")
        second.client.cookies.update(first.client.cookies)
        assert second.look_up_key().get("/api/state").status_code == 200
        assert second.form("/logout", {"csrf": "x"}).status_code == 403
        answer = second.form("/logout", {"csrf": second.csrf})
        # The storage stays: decisions may lie in it that were not sent yet.
        assert (answer.status_code, answer.headers["clear-site-data"]) == (303, '"cache"')
        assert first.get("/api/state").status_code == 401

    def test_a_password_is_asked_for_where_there_are_accounts(self, visit, accounts):
        visitor = visit(token=None, has_accounts=True)
        assert 'type="password"' in visitor.get("/login").text
        for fields in (
            {"name": "ann"},
            {"name": "ann", "password": "wrong"},
            {"name": "nobody", "password": "a long password"},
        ):
            answer = visitor.form("/login", fields)
            assert (answer.status_code, "The name or the password is wrong" in answer.text) == (403, True)
        visitor.log_in("bob", "another password", token=None)
        assert visitor.get("/api/state").json()["role"] == Role.REVIEWER

    def test_attempts_to_log_in_are_limited_by_name_and_by_address(self, visit, accounts):
        limits = Limits(failed_by_name=Limit(2, 0.001), failed_by_address=Limit(4, 0.001))
        visitor = visit(token=None, has_accounts=True, limits=limits)
        tries = ["ann", "ANN", "ann", "bob", "x", "y"]
        statuses = [visitor.form("/login", {"name": name, "password": "wrong"}).status_code for name in tries]
        assert statuses == [403, 403, 429, 403, 429, 429]
        assert int(visitor.form("/login", {"name": "z", "password": "wrong"}).headers["retry-after"]) > 1

    def test_nobody_locks_out_somebody_elsewhere(self, visit, accounts):
        limits = Limits(failed_by_name=Limit(2, 0.001), failed_anywhere=Limit(5, 0.001))
        visitor = visit(token=None, has_accounts=True, limits=limits)

        def attempt(address: str, password: str) -> int:
            visitor.client._transport.client = (address, 5)
            return visitor.form("/login", {"name": "ann", "password": password}).status_code

        assert [attempt("192.0.2.1", "wrong") for _ in range(4)] == [403, 403, 429, 429]
        assert attempt("192.0.2.2", "a long password") == 303
        visitor.client.cookies.clear()
        assert [attempt(f"192.0.2.{n}", "wrong") for n in range(3, 8)] == [403, 403, 403, 429, 429]

    def test_who_logs_in_rightly_uses_up_no_attempts(self, visit, accounts):
        visitor = visit(token=None, has_accounts=True, limits=Limits(failed_by_name=Limit(1, 0.001)))
        for _ in range(3):
            visitor.log_in("ann", "a long password", token=None)

    def test_a_session_without_an_account_is_none_where_accounts_are_asked_for(self, visit, small_desk):
        before = visit().log_in("mallory")
        after = visit(token=None, has_accounts=True)
        after.client.cookies.update(before.client.cookies)
        assert after.get("/api/state").status_code == 401

    @pytest.mark.parametrize("preset", [None, "bob"])
    def test_a_name_without_its_password_is_no_account_later(self, visit, accounts, preset):
        before = visit(annotator=preset)
        before.get("/login?token=the-token")
        if preset is None:
            before.form("/login", {"name": "bob"})
        assert before.get("/api/state").json()["role"] == Role.ADJUDICATOR
        after = visit(token=None, has_accounts=True)
        after.client.cookies.update(before.client.cookies)
        assert after.get("/api/state").status_code == 401

    def test_a_session_ends_with_its_account(self, visit, accounts):
        visitor = visit(token=None, has_accounts=True).log_in("bob", "another password", token=None)
        accounts.ledger.accounts.remove("bob")
        assert visitor.get("/api/state").status_code == 401

    def test_over_https_cookies_travel_over_nothing_else(self, visit):
        visitor = visit(is_secure=True, origins=(ORIGIN.replace("http", "https"),), annotator="ann")
        cookie = visitor.get("/login?token=the-token").headers["set-cookie"]
        assert cookie.startswith("__Host-clipsieve_")
        assert "Secure" in cookie
        assert "Path=/" in cookie

    def test_who_comes_from_another_site_is_led_through_a_page_of_our_own(self, reviewer):
        cookies = dict(reviewer.client.cookies)
        reviewer.client.cookies.clear()
        answer = reviewer.get("/", **{"Sec-Fetch-Site": "cross-site"})
        assert (answer.status_code, "url=/" in answer.text) == (200, True)
        assert reviewer.get("/", **{"Sec-Fetch-Site": "same-origin"}).headers["location"] == "/login"
        reviewer.client.cookies.update(cookies)
        assert reviewer.get("/").status_code == 200
