"""A real S3 server on loopback: moto's, in a process of its own, behind a layer that fails when it is told to.

Run as a script it serves; imported, it gives tests `S3Server`.
"""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BUCKET = "my-bucket"
FAULTS_PATH = "/__faults__"


class S3Server:
    """Starts the server; ends it on leaving the block.

    `environment` is what a client needs to find it. `fail(every=10)` makes each tenth request of a reader fail with a status,
    `fail(containing="x")` all of those whose path holds a text; `counts()` tells how many came and failed.
    """

    def __enter__(self) -> "S3Server":
        _forget_clients()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._wait()
        self.client().create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        _forget_clients()

    def _wait(self) -> bool:
        for _ in range(200):
            with contextlib.suppress(OSError):
                return bool(self.counts())
            time.sleep(0.1)
        raise TimeoutError("the S3 server did not start")

    def client(self):
        import boto3
        from botocore.config import Config

        # Named apart: the faults are for readers, not for the test that fills the bucket.
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="somebody",
            aws_secret_access_key="something",
            config=Config(user_agent="filler"),
        )

    def put(self, key: str, content: bytes) -> None:
        self.client().put_object(Bucket=BUCKET, Key=key, Body=content)

    def upload(self, folder: Path, prefix: str) -> None:
        """Put every file below a folder."""
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                client.put_object(
                    Bucket=BUCKET, Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes()
                )

    def fail(self, *, every: int = 0, containing: str = "", status: int = 500) -> None:
        self._ask({"every": every, "containing": containing, "status": status})

    def counts(self) -> dict[str, int]:
        return self._ask(None)

    def _ask(self, faults: dict[str, object] | None) -> dict[str, int]:
        body = None if faults is None else json.dumps(faults).encode()
        request = urllib.request.Request(self.url + FAULTS_PATH, data=body)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def _forget_clients() -> None:
    """Forget the file systems of this process: each is kept with the server that it was made for, and tests have their own."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()


class _Faults:
    """The layer in front of the server."""

    def __init__(self, server) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._faults = {"every": 0, "containing": "", "status": 500}
        self._counts = {"n_requests": 0, "n_failed": 0}

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == FAULTS_PATH:
            if length := int(environ.get("CONTENT_LENGTH") or 0):
                self._faults = json.loads(environ["wsgi.input"].read(length))
            return self._answer(start_response, "200 OK", json.dumps(self._counts).encode())
        if "filler" in environ.get("HTTP_USER_AGENT", ""):
            return self._server(environ, start_response)
        self._counts["n_requests"] += 1
        every, containing = self._faults["every"], self._faults["containing"]
        if (every and next(self._numbers) % every == 0) or (containing and containing in environ["PATH_INFO"]):
            self._counts["n_failed"] += 1
            body = b"<Error><Code>InternalError</Code><Message>on purpose</Message></Error>"
            return self._answer(start_response, f"{self._faults['status']} On purpose", body)
        return self._server(environ, start_response)

    @staticmethod
    def _answer(start_response, status: str, body: bytes):
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


def main() -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", int(sys.argv[1]), _Faults(DomainDispatcherApplication(create_backend_app)), threaded=True)


if __name__ == "__main__":
    main()
