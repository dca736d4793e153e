"""GraphiQL for development: one page per view, from local files alone.

Its programs come from npm packages in ``tools/graphiql``, which are installed apart (``make graphiql``): nothing else
needs them. Partners have no page, because they may send registered documents only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from auth.principals import View

HOME: Final = Path(__file__).parents[1] / "tools" / "graphiql"
PREFIX: Final = "/graphiql"
VIEWS: Final = tuple(view.lower() for view in View if view is not View.PARTNER)
ASSETS: Final = {
    "page.js": "page.js",
    "page.css": "page.css",
    "react.js": "node_modules/react/umd/react.production.min.js",
    "react-dom.js": "node_modules/react-dom/umd/react-dom.production.min.js",
    "graphiql.js": "node_modules/graphiql/graphiql.min.js",
    "graphiql.css": "node_modules/graphiql/graphiql.min.css",
}
_POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS: Final = {"content-security-policy": _POLICY, "cache-control": "no-cache"}


class GraphiQL:
    """Serves what is in ``home``."""

    def __init__(self, home: Path = HOME) -> None:
        self._home = home

    def routes(self) -> list[BaseRoute]:
        return [
            Route(PREFIX, self._start),
            Route(f"{PREFIX}/assets/{{name}}", self._asset),
            Route(f"{PREFIX}/{{view}}", self._page),
        ]

    async def _start(self, request: Request) -> Response:
        return RedirectResponse(f"{PREFIX}/{VIEWS[0]}")

    async def _asset(self, request: Request) -> Response:
        path = ASSETS.get(request.path_params["name"])
        if path is None or not (self._home / path).is_file():
            raise HTTPException(404)
        return FileResponse(self._home / path, headers=_HEADERS)

    async def _page(self, request: Request) -> Response:
        view = request.path_params["view"]
        if view not in VIEWS:
            raise HTTPException(404)
        missing = [path for path in ASSETS.values() if not (self._home / path).is_file()]
        if missing:
            return HTMLResponse(_MISSING, 503, _HEADERS)
        links = " ".join(
            f'<a href="{PREFIX}/{other}"{" aria-current=page" if other == view else ""}>{other}</a>' for other in VIEWS
        )
        return HTMLResponse(_PAGE.format(view=view, links=links, assets=f"{PREFIX}/assets"), headers=_HEADERS)


_MISSING: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>GraphiQL is not installed</title>
<h1>GraphiQL is not installed</h1>
<p>Run <code>make graphiql</code> in the repository, once and with the network, and load this page again.</p>
</html>
"""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>GraphiQL: {view}</title>
  <link rel="icon" href="/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="{assets}/graphiql.css">
  <link rel="stylesheet" href="{assets}/page.css">
  <script defer src="{assets}/react.js"></script>
  <script defer src="{assets}/react-dom.js"></script>
  <script defer src="{assets}/graphiql.js"></script>
  <script defer src="{assets}/page.js"></script>
</head>
<body data-view="{view}">
  <nav aria-label="Views">{links}</nav>
  <main id="graphiql">Loading…</main>
</body>
</html>
"""
