"""The server on a real port: who may start it where, what it tells, and how it ends."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from clipsieve.errors import UsageError
from clipsieve.review.records import Role
from clipsieve.review.web.serve import access_for, serve


def test_on_this_machine_a_token_lets_in(small_desk):
    access = access_for(small_desk, host="127.0.0.1", port=8765)
    assert access.token is not None
    assert len(access.token) >= 43
    assert not access.has_accounts
    assert access.origins[0] == "http://127.0.0.1:8765"
    assert set(access.hosts) == {"127.0.0.1:8765", "localhost:8765", "[::1]:8765"}
    assert access.token != access_for(small_desk, host="127.0.0.1", port=8765).token


EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "review.example.org"])
def test_beyond_this_machine_it_takes_accounts(small_desk, host):
    with pytest.raises(UsageError, match="no account"):
        access_for(small_desk, host=host, port=8765)
    with pytest.raises(UsageError, match="no account"):
        access_for(small_desk, host="127.0.0.1", port=8765, public_url="https://review.example.org")


def test_with_accounts_there_is_no_token(accounts):
    access = access_for(accounts, host=EVERYWHERE, port=443, is_tls=True)
    assert (access.token, access.has_accounts, access.is_secure) == (None, True, True)
    assert access.hosts[0] == socket.gethostname().lower()
    with pytest.raises(UsageError, match="exclude each other"):
        access_for(accounts, host=EVERYWHERE, port=443, annotator="ann")


def test_a_preset_name_has_the_role_of_its_account(accounts):
    for name, role in (("ann", Role.ADJUDICATOR), ("BOB", Role.REVIEWER), ("carol", Role.ADJUDICATOR)):
        access = access_for(accounts, host="localhost", port=1, annotator=name)
        assert (access.role, access.has_accounts, access.token is None) == (role, False, False)
        assert access.annotator == name.lower()  # as the account is written
    with pytest.raises(UsageError, match="no name"):
        access_for(accounts, host="localhost", port=1, annotator="a\x00")


def test_another_server_before_it_speaks_for_it(accounts):
    access = access_for(accounts, host="127.0.0.1", port=8765, public_url="HTTPS://Review.Example.org:443/")
    assert access.origins[0] == "https://review.example.org"
    assert access.is_secure
    wrong = ["https://x:99999", "https://[x", "https://:pw@x", "https://\u00eb..example", "https://@x"]
    for url in (
        "review.example.org",
        "ftp://x",
        "https://x/path",
        "https://user:pw@x",
        "https://",
        "https://x?y",
        *wrong,
    ):
        with pytest.raises(UsageError, match="public URL"):
            access_for(accounts, host="127.0.0.1", port=1, public_url=url)


def test_a_name_in_other_letters_is_written_as_browsers_write_it(accounts):
    access = access_for(accounts, host="127.0.0.1", port=8765, public_url="https://R\u00cbview.example.org:8443")
    assert access.origins[0] == "https://xn--rview-nsa.example.org:8443"
    assert access.is_own_host("xn--rview-nsa.example.org:8443", None)


def test_behind_https_nothing_is_answered_past_it(accounts):
    access = access_for(accounts, host=EVERYWHERE, port=8765, public_url="https://review.example.org")
    for host in ("192.0.2.7:8765", f"{socket.gethostname()}:8765", "review.example.org:8765"):
        assert not access.is_own_host(host, ("192.0.2.7", 8765))
    assert access.is_own_host("review.example.org", ("192.0.2.7", 8765))
    assert access.is_own_host("127.0.0.1:8765", ("127.0.0.1", 8765)), "the server before it may ask so"
    told = access_for(accounts, host=EVERYWHERE, port=8765)
    assert told.is_own_host("192.0.2.7:8765", ("192.0.2.7", 8765))


@pytest.mark.parametrize(
    ("port", "is_tls", "scheme"), [(80, False, "http"), (443, True, "https"), (8765, False, "http")]
)
def test_the_port_of_the_scheme_is_not_in_a_host(accounts, port, is_tls, scheme):
    access = access_for(accounts, host=EVERYWHERE, port=port, is_tls=is_tls)
    server, is_default = ("192.0.2.7", port), port != 8765
    for name in ("192.0.2.7", socket.gethostname()):
        assert access.is_own_host(name, server) == is_default
        assert access.is_own_host(f"{name}:{port}", server)
        assert not access.is_own_host(f"{name}:81", server)
        shown = name if is_default else f"{name}:{port}"
        assert access.is_own_origin(f"{scheme}://{shown}", f"{name}:{port}")
    assert access.is_own_host("[2001:db8::7]", ("2001:db8::7", port)) == is_default


def test_an_address_that_cannot_be_had_is_said_in_words(small_desk, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="another program"):
        serve(small_desk, port=taken.getsockname()[1])
    with pytest.raises(UsageError, match="cannot serve on 192\\.0\\.2\\.1"):
        serve(small_desk, host="192.0.2.1", port=0)
    with pytest.raises(UsageError, match="certificate and its key"):
        serve(small_desk, port=0, tls_cert=tmp_path / "x")
    with pytest.raises(UsageError, match="cannot be used for https"):
        serve(small_desk, port=0, tls_cert=tmp_path / "x", tls_key=tmp_path / "y")


SERVER = """
    import sys, time
    from clipsieve.review.ledger import open_ledger
    from clipsieve.review.web.serve import serve
    from review_client import SmallDesk

    class SlowDesk(SmallDesk):
        def search(self, session, text, n, **how):
            print("searching", flush=True)
            time.sleep(0.7)
            return super().search(session, text, n, **how)

    with open_ledger(sys.argv[1], "small") as ledger:
        serve(SlowDesk(ledger), host=sys.argv[2], port=0, annotator="ann", on_start=lambda url: print(url, flush=True))
    print("closed", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("host", "number"), [("127.0.0.1", signal.SIGTERM), ("::1", signal.SIGINT)])
def test_a_signal_ends_it_after_what_was_begun(tmp_path, host, number):
    command = [sys.executable, "-c", textwrap.dedent(SERVER), str(tmp_path / "v.db"), host]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as server:
        try:
            url = urlsplit(server.stdout.readline().strip())
            assert url.path == "/login"
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
            connection.request("GET", f"{url.path}?{url.query}")
            answer = connection.getresponse()
            answer.read()
            cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
            connection.request("GET", "/", headers=cookie)
            page = connection.getresponse().read().decode()
            key = page.partition('name="csrf" content="')[2][:64]
            own = {"Origin": f"http://{url.netloc}", "X-CSRF-Token": key, "Content-Type": "application/json"}
            connection.request("POST", "/api/search", '{"text": "knife"}', own | cookie)
            assert server.stdout.readline() == "searching\n"
            server.send_signal(number)
            assert connection.getresponse().status == 200
            connection.close()
            assert server.wait(15) == 0
            out, err = server.communicate()
            assert (out, err) == ("closed\n", "")
        finally:
            server.kill()


def test_the_package_is_light_and_says_what_is_missing(tmp_path):
    code = """
        import sys
        import clipsieve.review.web.serve as served
        assert not {"fastapi", "starlette", "uvicorn", "sqlalchemy", "jinja2"} & set(sys.modules)
        sys.modules["fastapi"] = None
        from clipsieve.errors import MissingExtraError
        try:
            served.serve(None)
        except MissingExtraError as error:
            assert "clipsieve[review]" in error.hint
            print("said")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("said\n", "")
