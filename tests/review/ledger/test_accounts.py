"""Names, passwords, sessions."""

import statistics
import time
import unicodedata

import pytest
from argon2 import PasswordHasher

from clipsieve.errors import UsageError
from clipsieve.review.ledger import open_ledger
from clipsieve.review.ledger.accounts import Accounts
from clipsieve.review.records import Role

PASSWORD = "correct horse é"
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@pytest.fixture
def ledger(place):
    """Give a ledger whose passwords are hashed quickly."""
    with open_ledger(place, "run") as opened:
        opened.accounts = Accounts(opened._database, QUICK)
        yield opened


def test_a_password_opens_its_account_alone(ledger):
    ledger.accounts.add("Ann", PASSWORD, Role.ADJUDICATOR)
    ledger.accounts.add("Bob", "another password", Role.REVIEWER)
    assert ledger.accounts.verify("Ann", PASSWORD) is Role.ADJUDICATOR
    assert ledger.accounts.verify("Bob", "another password") is Role.REVIEWER
    for name, password in [
        ("Ann", "another password"), ("Bob", PASSWORD), ("Eve", PASSWORD), ("", PASSWORD), ("Ann", ""),
        ("Ann", PASSWORD + "\0"), ("Ann", PASSWORD + " "), ("Ann", "x" * 10**6), ("Ann", "\ud800" * 12),
        ("\0", PASSWORD), ("' OR 1=1 --", PASSWORD), ("\ud800", PASSWORD), ("x" * 10**6, PASSWORD),
        ("Eve", "the password of nobody"),
    ]:  # fmt: skip
        assert ledger.accounts.verify(name, password) is None
    assert [(account.name, account.role) for account in ledger.accounts.all()] == [
        ("Ann", Role.ADJUDICATOR), ("Bob", Role.REVIEWER),
    ]  # fmt: skip


def test_no_password_is_stored(ledger):
    ledger.accounts.add("Ann", PASSWORD, Role.REVIEWER)
    with ledger._database.reading() as connection:
        ((found,),) = connection.exec_driver_sql("SELECT password_hash FROM accounts")
    assert found.startswith("$argon2id$")
    assert PASSWORD not in found


@pytest.mark.parametrize(
    ("name", "same"),
    [("Ann", "ANN"), ("Straße", "STRASSE"), ("Zoë", unicodedata.normalize("NFD", "zoë")), ("Ann", "\uff21nn")],
)
def test_spellings_of_one_name_are_one_account(tmp_path, name, same):
    with open_ledger(tmp_path / "verdicts.db", "run") as ledger:
        accounts = Accounts(ledger._database, QUICK)
        accounts.add(name, PASSWORD, Role.REVIEWER)
        with pytest.raises(UsageError, match="already"):
            accounts.add(same, PASSWORD, Role.ADJUDICATOR)
        assert accounts.verify(same, PASSWORD) is Role.REVIEWER
        assert accounts.verify(name, unicodedata.normalize("NFD", PASSWORD)) is Role.REVIEWER
        secret = ledger.sessions.start(same, Role.REVIEWER, 60, is_verified=True)
        assert ledger.sessions.find(secret).annotator == name  # one person, one annotator
        assert (accounts.find(same).name, accounts.find(same).role) == (name, Role.REVIEWER)
        assert accounts.find(name + "x") is accounts.find("") is None


@pytest.mark.parametrize("name", ["", " Ann", "Ann ", "a\nb", "\u202eann", "a\0b", "\ud800", "x" * 81, "\u200b"])
def test_what_can_be_no_name_is_refused(tmp_path, name):
    with open_ledger(tmp_path / "verdicts.db", "run") as ledger:
        with pytest.raises(UsageError, match="name of an account"):
            ledger.accounts.add(name, PASSWORD, Role.REVIEWER)
        assert ledger.accounts.all() == []


@pytest.mark.parametrize("password", ["", "x" * 9, "x" * 1025, "\ud800" * 12])
def test_what_can_be_no_password_is_refused(tmp_path, password):
    with open_ledger(tmp_path / "verdicts.db", "run") as ledger:
        with pytest.raises(UsageError, match="password"):
            ledger.accounts.add("Ann", password, Role.REVIEWER)
        with pytest.raises(UsageError, match="password"):
            ledger.accounts.set_password("Ann", password)
        assert ledger.accounts.all() == []


def test_a_removed_account_is_gone_with_its_sessions(ledger):
    for name in ("Ann", "Bob"):
        ledger.accounts.add(name, PASSWORD, Role.REVIEWER)
    gone, stays = (ledger.sessions.start(name, Role.REVIEWER, 60, is_verified=True) for name in ("Ann", "Bob"))
    ledger.accounts.remove("ann")
    assert ledger.sessions.find(gone) is None
    assert ledger.sessions.find(stays).annotator == "Bob"
    assert ledger.accounts.verify("Ann", PASSWORD) is None
    with pytest.raises(UsageError, match="no account 'Ann'"):
        ledger.accounts.remove("Ann")


def test_another_password_ends_the_sessions_of_the_old_one(ledger):
    ledger.accounts.add("Ann", PASSWORD, Role.REVIEWER)
    secret = ledger.sessions.start("Ann", Role.REVIEWER, 60, is_verified=True)
    ledger.accounts.set_password("ANN", "a new password")
    assert ledger.sessions.find(secret) is None
    assert ledger.accounts.verify("Ann", PASSWORD) is None
    assert ledger.accounts.verify("Ann", "a new password") is Role.REVIEWER
    with pytest.raises(UsageError, match="no account"):
        ledger.accounts.set_password("Eve", PASSWORD)


def test_hashes_of_older_settings_are_renewed_at_login(place):
    with open_ledger(place, "run") as ledger:
        Accounts(ledger._database, QUICK).add("Ann", PASSWORD, Role.REVIEWER)
        stronger = PasswordHasher(time_cost=2, memory_cost=128, parallelism=1)
        accounts = Accounts(ledger._database, stronger)

        def found():
            with ledger._database.reading() as connection:
                return connection.exec_driver_sql("SELECT password_hash FROM accounts").scalar()

        assert accounts.verify("Ann", "wrong password") is None
        assert "m=64,t=1" in found()
        assert accounts.verify("Ann", PASSWORD) is Role.REVIEWER
        assert "m=128,t=2" in found()
        assert accounts.verify("Ann", PASSWORD) is Role.REVIEWER


def test_an_unknown_name_takes_as_long_as_a_wrong_password(tmp_path):
    with open_ledger(tmp_path / "verdicts.db", "run") as ledger:
        accounts = Accounts(ledger._database, PasswordHasher(time_cost=2, memory_cost=8192, parallelism=1))
        accounts.add("Ann", PASSWORD, Role.REVIEWER)

        def median_s(name):
            took = []
            for _ in range(9):
                start = time.perf_counter()
                assert accounts.verify(name, "wrong password") is None
                took.append(time.perf_counter() - start)
            return statistics.median(took)

        # Without a hash to compute, the answer would come in a twentieth of the time.
        assert median_s("Eve") > median_s("Ann") / 3
        assert median_s("\n") > median_s("Ann") / 3


def test_a_session_outlives_the_server_and_its_secret_is_nowhere(place):
    with open_ledger(place, "run") as ledger:
        secret = ledger.sessions.start("Ann\0", Role.ADJUDICATOR, 60)
        first = ledger.sessions.find(secret)
        with ledger._database.reading() as connection:
            assert secret not in str(connection.exec_driver_sql("SELECT * FROM sessions").all())
    with open_ledger(place, "run") as ledger:
        assert ledger.sessions.find(secret) == first
        assert (first.annotator, first.role) == ("Ann\0", Role.ADJUDICATOR)
        assert len(first.csrf) == 64
        assert secret not in first.csrf
        other = ledger.sessions.find(ledger.sessions.start("Ann", Role.REVIEWER, 60))
        assert other.csrf != first.csrf


def test_a_session_ends(place):
    with open_ledger(place, "run") as ledger:
        secret, short = ledger.sessions.start("Ann", Role.REVIEWER, 60), ledger.sessions.start("Bob", Role.REVIEWER, 0)
        assert ledger.sessions.find(short) is None
        ledger.sessions.end("nothing of the kind")
        assert ledger.sessions.find(secret)
        ledger.sessions.end(secret)
        ledger.sessions.end(secret)
        assert ledger.sessions.find(secret) is None


def test_no_other_secret_opens_a_session(place):
    with open_ledger(place, "run") as ledger, open_ledger(place, "other") as other:
        secret = ledger.sessions.start("Ann", Role.REVIEWER, 60)
        for wrong in (
            "",
            secret[:-1],
            secret + "x",
            secret.swapcase(),
            "é" * 43,
            "\ud800" * 43,
            "' OR 1=1 --",
            "x" * 10**6,
        ):
            assert ledger.sessions.find(wrong) is None
        assert other.sessions.find(secret) is None
        other.sessions.end(secret)
        assert ledger.sessions.find(secret)


def test_where_accounts_are_demanded_other_sessions_do_not_do(ledger):
    ledger.accounts.add("Ann", PASSWORD, Role.REVIEWER)
    with_one = ledger.sessions.start("Ann", Role.REVIEWER, 60, is_verified=True)
    without = ledger.sessions.start("Guest", Role.REVIEWER, 60)
    assert ledger.sessions.find(without).annotator == "Guest"
    assert ledger.sessions.find(without, needs_account=True) is None
    assert ledger.sessions.find(with_one, needs_account=True).annotator == "Ann"


def test_a_name_that_nobody_gave_the_password_of_is_not_the_account(ledger):
    ledger.accounts.add("Ann", PASSWORD, Role.REVIEWER)
    claimed = ledger.sessions.start("Ann", Role.ADJUDICATOR, 60)
    assert ledger.sessions.find(claimed).annotator == "Ann"
    assert ledger.sessions.find(claimed, needs_account=True) is None


def test_a_session_of_an_account_has_the_role_that_the_account_has(ledger):
    ledger.accounts.add("Ann", PASSWORD, Role.REVIEWER)
    secret = ledger.sessions.start("ann", Role.ADJUDICATOR, 60, is_verified=True)
    for needs_account in (True, False):
        assert ledger.sessions.find(secret, needs_account=needs_account).role is Role.REVIEWER
