"""The files that pages load: a fixed list, in memory, each known by the hash of its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["Asset", "address", "load_assets", "static_routes"]

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes
    ----------
    content : bytes
        Its bytes.
    media_type : str
        For the header.
    version : str
        The first 16 hex digits of its sha256.
    """

    content: bytes
    media_type: str
    version: str


@lru_cache(maxsize=1)
def load_assets() -> dict[str, Asset]:
    """Return every file of the folder `static`, by name."""
    found = {}
    for file in files("clipsieve.review.web").joinpath("static").iterdir():
        media_type = _TYPES.get("." + file.name.rpartition(".")[2])
        if media_type and file.is_file():
            content = file.read_bytes()
            found[file.name] = Asset(content, media_type, hashlib.sha256(content).hexdigest()[:16])
    return found


def address(name: str) -> str:
    """Return where a page finds a file, another address for other bytes."""
    return f"/static/{name}?v={load_assets()[name].version}"


async def _send(request: Request) -> Response:
    asset = load_assets().get(request.path_params["file"])
    if asset is None:
        raise HTTPException(404)
    tag = f'"{asset.version}"'
    # A module that another one imports is asked for without a version, and then compared each time.
    is_versioned = request.query_params.get("v") == asset.version
    lasting = "public, max-age=31536000, immutable" if is_versioned else "no-cache"
    headers = {"ETag": tag, "Cache-Control": lasting}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


async def _send_icon(_: Request) -> Response:
    icon = load_assets()["icon.svg"]
    return Response(icon.content, media_type=icon.media_type, headers={"Cache-Control": "public, max-age=86400"})


def static_routes() -> list[Route]:
    """Return the routes of these files, and of the icon that browsers ask for unasked; no address reaches the disk."""
    return [
        Route("/static/{file}", _send, methods=["GET"], include_in_schema=False),
        Route("/favicon.ico", _send_icon, methods=["GET"], include_in_schema=False),
    ]
