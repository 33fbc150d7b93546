"""The web page of a store, for one person at this machine: look at episodes, accept, reject and tag them.

It listens on the loopback interface only and is meant to stay there. Reading never changes anything; every change is a
POST of JSON whose Origin is this page, and the Host header must name this machine, so that no other web page (nor a
name that someone points at 127.0.0.1) can read or edit. The store's writer lock is held only during an edit.
"""

from __future__ import annotations

import functools
import importlib.resources
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, Protocol, cast

from robolearn.data import web
from robolearn.data.facts import describe
from robolearn.data.store import Store
from robolearn.errors import MissingDependency, RobolearnError, StoreError, UnknownName
from robolearn.serving import App, Guard, listen

__all__ = ["build_app", "serve"]

_PAGE = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "plot.js": ("plot.js", "text/javascript"),
}


class _Request(Protocol):
    path_params: dict[str, Any]

    async def json(self) -> Any: ...


def build_app(store: Store, port: int) -> App:
    """The page as an ASGI application for one store, answering for loopback names at `port`.

    Raises:
        MissingDependency: Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.responses import Response
        from starlette.routing import Route
    except ModuleNotFoundError as error:
        raise MissingDependency("starlette", "web", "The web page of a store") from error
    lock = threading.Lock()

    def reply(value: Any, status: int = 200) -> Response:
        return Response(web.plain_json(value), status, media_type="application/json")

    def reads(work: Callable[[_Request], Any]) -> Callable[[Any], Any]:
        """A sync endpoint in a worker thread; the store is not shared between threads."""

        @functools.wraps(work)
        def endpoint(request: _Request) -> Response:
            try:
                with lock:
                    store.refresh()
                    value = work(request)
            except UnknownName as error:
                return reply({"error": str(error)}, 404)
            except RobolearnError as error:
                return reply({"error": str(error)}, 409)
            return value if isinstance(value, Response) else reply(value)

        return endpoint

    @functools.lru_cache(maxsize=8)
    def film(id: str, camera: str) -> bytes:
        return web.film(store, id, camera)

    @functools.lru_cache(maxsize=2048)
    def thumbnail(id: str) -> bytes | None:
        return web.thumbnail(store, id)

    def picture(request: _Request) -> Response:
        found = thumbnail(store.info(request.path_params["id"]).id)
        if found is None:
            return Response(status_code=404)
        return Response(found, media_type="image/jpeg")

    async def edit(request: _Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        try:
            wish = await request.json()
        except ValueError:
            return reply({"error": "The change is not JSON."}, 400)
        if not isinstance(wish, dict):
            return reply({"error": "Expected an object."}, 400)
        facts = cast(dict[str, Any], wish)
        return await run_in_threadpool(reads(lambda _: _edit(store, facts)), request)

    def static(name: str) -> Callable[[Any], Response]:
        file, kind = _PAGE[name]
        body = importlib.resources.files("robolearn.data").joinpath("page", file).read_bytes()
        return lambda request: Response(body, media_type=kind)

    routes = [Route(f"/{name}", static(name)) for name in _PAGE]
    routes += [
        Route("/api/store", reads(lambda _: describe(store))),
        Route("/api/episodes", reads(lambda _: web.episode_list(store))),
        Route("/api/episodes/{id}", reads(lambda r: web.episode_facts(store, r.path_params["id"]))),
        Route(
            "/api/episodes/{id}/film/{camera}",
            reads(
                lambda r: Response(
                    film(r.path_params["id"], r.path_params["camera"]), media_type="application/octet-stream"
                )
            ),
        ),
        Route("/api/episodes/{id}/thumbnail", reads(picture)),
        Route("/api/edit", edit, methods=["POST"]),
    ]
    return Guard(cast(App, Starlette(routes=routes)), port)


_EDITS = ("accept", "reject", "unmark", "tag", "untag", "delete", "restore", "split", "undo")


def _edit(store: Store, wish: dict[str, Any]) -> dict[str, Any]:
    """One change: {"edit": ..., "id": ..., "value": ...}; answers with what became of the episode."""
    name, id, value = str(wish.get("edit", "")), str(wish.get("id", "")), str(wish.get("value", "")).strip()
    if name not in _EDITS:
        raise UnknownName("edit", name, _EDITS)
    if name in ("tag", "untag") and not value:
        raise StoreError("A tag needs a name; type one.")
    done = ""
    with closing(store):  # gives the writer lock back, so that a recorder can go on
        if name == "undo":
            done = store.undo() or "nothing to undo"
        elif name in ("accept", "reject"):
            marks = (web.ACCEPTED, web.REJECTED)[:: 1 if name == "accept" else -1]
            store.tag(id, [marks[0]], [marks[1]] if marks[1] in store.tags_of(id) else [])
        elif name == "unmark":
            store.tag(id, [], [tag for tag in (web.ACCEPTED, web.REJECTED) if tag in store.tags_of(id)])
        elif name in ("tag", "untag"):
            store.tag(id, *(([value], []) if name == "tag" else ([], [value])))
        elif name == "split":
            store.split(id, value)
        else:
            (store.delete if name == "delete" else store.restore)(id)
    return {"done": done or name, "episodes": web.episode_list(store)}


def serve(store: Store, *, port: int = 8787, ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve the page until Ctrl-C.

    Args:
        store: What is shown.
        port: On 127.0.0.1; 0 takes a free one.
        ready: Called with the address once it listens.

    Raises:
        MissingDependency: Starlette or uvicorn is not installed.
        BenchError: The port is taken.
    """
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise MissingDependency("uvicorn", "web", "The web page of a store") from error
    with listen(port) as listener:
        bound = int(listener.getsockname()[1])
        app = build_app(store, bound)
        config = uvicorn.Config(cast(Any, app), log_level="warning", access_log=False, lifespan="off")
        ready(f"http://127.0.0.1:{bound}/")
        uvicorn.Server(config).run(sockets=[listener])
