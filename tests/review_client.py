"""A browser without a face, and a desk of three records, for tests of the server."""

import json
import re
import uuid
from dataclasses import asdict
from datetime import UTC, datetime

from fastapi.testclient import TestClient

from clipsieve.errors import LedgerError, RunConflictError, UsageError
from clipsieve.review.ledger import Ledger
from clipsieve.review.records import Item, OpenedSession
from clipsieve.review.web.access import Access

__all__ = [
    "ACCESS",
    "HOST",
    "HOSTILE",
    "ORIGIN",
    "SHA",
    "TAKE",
    "SmallDesk",
    "Visitor",
    "flat",
    "ledger_fault",
    "verdict",
]

HOST = "127.0.0.1:8765"
ORIGIN = f"http://{HOST}"
ACCESS = Access(origins=(ORIGIN,), hosts=(HOST, "localhost:8765"), token="the-token")
SHA = "a" * 64
TAKE = {"queue": {"name": "highest", "value": None}, "n": 1, "skip": []}
HOSTILE = "</script><script>alert(1)</script>'\"{{7*7}}"


class SmallDesk:
    """Answers as the real desk does, over three images, and keeps what it was asked."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.asked: list[tuple[str, object]] = []
        self.fault: Exception | None = None

    def _note(self, what: str, asked: object) -> None:
        if self.fault is not None:
            raise self.fault
        self.asked.append((what, asked))

    def _items(self) -> list[dict]:
        facts = {
            "sha256": SHA,
            "label": HOSTILE,
            "concept": None,
            "classifier": "words",
            "score": 0.5,
            "is_flagged": True,
        }
        picture = {"picture": f"/images/0/{SHA[:16]}", "why_no_picture": None}
        return [
            asdict(Item(row=row, image_id=f"{row}.png", name=f"{row}.png", caption=HOSTILE, **facts, **picture))
            for row in range(3)
        ]

    def state(self, session: OpenedSession) -> dict:
        self._note("state", session)
        run = {
            "key": "a",
            "name": HOSTILE,
            "n_images": 3,
            "n_seen": 3,
            "n_flagged": 1,
            "threshold": 0.5,
            "scores": "words",
        }
        queue = {"name": "highest", "value": None, "title": "Highest", "about": HOSTILE, "n": 3, "n_done": 0}
        return {
            "annotator": session.annotator,
            "role": session.role.value,
            "run": run,
            "guideline": "",
            "reviews_per_image": 1,
            "concepts": [HOSTILE],
            "queues": [queue],
            "progress": {"mine": 0, "decided": 0, "disputed": 0, "mine_today_s": 0.0},
            "index": {"is_ready": True, "share": 1.0, "problem": None},
            "min_similarity": 0.95,
            "now": datetime.now(UTC).isoformat(),
            "can_adjudicate": True,
        }

    def summary(self) -> dict:
        self._note("summary", None)
        counts = dict.fromkeys(("decided", "kept", "removed", "unsure", "disputed", "n_images", "n_seen"), 0)
        more = dict.fromkeys(("n_flagged", "n_flagged_decided", "n_held"), 0)
        nobody = {"cohen": [], "krippendorff": None, "n_units": 0}
        lists = {"by_annotator": [], "by_queue": [], "by_concept": [{"concept": HOSTILE, "n": 1}]}
        told = {"reviews_per_image": 1, "scores": HOSTILE, "ledger": HOSTILE}
        return counts | more | told | lists | {"agreement": nobody}

    def take(self, session, queue, n, skip=()) -> dict:
        self._note("take", (queue, n, skip))
        return {"items": self._items()[:n], "n_left": 3, "message": None}

    def decide(self, session, sent) -> dict:
        self._note("decide", sent)
        accepted, now = [each.verdict_id for each in sent], datetime.now(UTC).isoformat()
        return {"accepted": accepted, "refused": [], "progress": {"mine": len(sent)}, "now": now}

    def search(self, session, text, n, *, is_blind=False) -> dict:
        self._note("search", text)
        return {"items": self._items()[:n], "elapsed_s": 0.0}

    def similar(self, session, row, n, *, is_blind=False) -> dict:
        self._note("similar", row)
        if row >= 3:
            raise UsageError("no such row")
        return {"items": self._items()[:n], "elapsed_s": 0.0}

    def group(self, session, row, min_similarity, *, is_blind=False) -> dict:
        self._note("group", row)
        return {"items": self._items()[:1], "n": 1, "min_similarity": min_similarity}

    def renew(self, session, rows) -> dict:
        self._note("renew", rows)
        return {"lost": []}

    def release(self, session, rows) -> dict:
        self._note("release", rows)
        return {}

    def learn(self, session) -> dict:
        self._note("learn", None)
        raise RunConflictError("too few verdicts", hint="decide about some more")

    def picture(self, row, sha16, size) -> bytes | None:
        self._note("picture", (row, sha16, size))
        return b"RIFFxxxxWEBP" if row < 3 and sha16 == SHA[:16] else None


class Visitor:
    """A client that sends what a browser would, unless told otherwise."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.csrf = ""

    def get(self, path: str, **headers: str):
        return self.client.get(path, headers=headers)

    def form(self, path: str, fields: dict[str, str], **headers: str):
        return self.client.post(path, data=fields, headers={"Origin": ORIGIN} | headers)

    def post(self, path: str, value: object, **headers: str | None):
        """Send JSON with the key of the session; a header that is None is left out."""
        usual = {"Origin": ORIGIN, "X-CSRF-Token": self.csrf, "Content-Type": "application/json"}
        sent = {name: text for name, text in (usual | headers).items() if text is not None}
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.client.post(path, content=content, headers=sent)

    def log_in(self, name: str = "ann", password: str | None = None, token: str | None = ACCESS.token) -> "Visitor":
        if token:
            assert self.get(f"/login?token={token}").status_code == 200
        fields = {"name": name} | ({"password": password} if password else {})
        answer = self.form("/login", fields)
        assert answer.status_code == 303, answer.text
        return self.look_up_key()

    def look_up_key(self) -> "Visitor":
        found = re.search(r'<meta name="csrf" content="([0-9a-f]{64})">', self.get("/").text)
        assert found
        self.csrf = found[1]
        return self


def verdict(**changes: object) -> dict[str, object]:
    """Return a decision as the page sends it."""
    facts = {"verdict_id": str(uuid.uuid4()), "row": 0, "image_id": "0.png", "choice": "keep"}
    return facts | {"made": datetime.now(UTC).isoformat()} | changes


def ledger_fault() -> LedgerError:
    """Return what a ledger says that cannot be written."""
    return LedgerError("the ledger cannot be written", hint="make room")


def flat(answer) -> str:
    """Return all that an answer says, headers too."""
    return answer.text + str(dict(answer.headers))
