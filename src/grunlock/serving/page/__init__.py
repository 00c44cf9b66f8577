"""The page at /: static files of this package, and nothing from elsewhere."""

from importlib import resources

from fastapi import FastAPI
from fastapi.responses import Response

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/drawing.js": ("drawing.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def add_page(app: FastAPI) -> None:
    """Its routes. They need no token: what they ask does."""
    for path, (name, media_type) in FILES.items():
        content = (resources.files("grunlock.serving.page") / name).read_bytes()
        app.add_route(path, _file(content, media_type), include_in_schema=False)


def _file(content: bytes, media_type: str):  # type: ignore[no-untyped-def]
    async def answer(request: object) -> Response:
        return Response(content, media_type=media_type, headers=HEADERS)

    return answer
