"""The service: a released bundle behind `POST /v1/segment` and `GET /v1/models`, run by BentoML.

BentoML imports this module in its supervisor, in its worker and when it builds a bento; the model is loaded in the
worker only. `/livez`, `/readyz` and `/metrics` are BentoML's.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # before BentoML reads it; only "true" counts
os.environ.setdefault("DO_NOT_TRACK", "1")

import bentoml
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from synthgate.errors import SynthgateError
from synthgate.registry import bundle, versions
from synthgate.registry.bundle import Bundle
from synthgate.serving.answers import JSON, NIFTI, Answer, Model, answer, choose
from synthgate.serving.form import most_bytes, read_form
from synthgate.serving.intake import Refused

SERVICE = "synthgate.serving.service:Segmentation"
RELEASE = Path(os.environ.get("SYNTHGATE_RELEASE", "releases/brain")).absolute()
"""The bundle; a relative path starts where the service is loaded: the repository, or a bento's `src`."""
AT_ONCE = 8
"""Requests held at once; the next are told to come again (429). One of them is computed at a time."""
SECONDS = 600
"""A request that takes longer is given up (504)."""
ROUTES = "POST /v1/segment or GET /v1/models"

log = logging.getLogger(__name__)


class Api:
    """The ASGI app under `/v1`; `model` is set once, before the first request."""

    def __init__(self) -> None:
        self.model: Model | None = None
        self.most_bytes = 0
        self._turn = asyncio.Semaphore(1)
        routes = [
            Route("/segment", _told(self.segment), methods=["POST"]),
            Route("/models", _told(self.models), methods=["GET"]),
        ]
        self._app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request. (Not a Starlette itself: BentoML would then answer unknown paths, not in JSON.)"""
        await self._app(scope, receive, send)

    async def segment(self, request: Request) -> Response:
        """`POST /v1/segment`: the label as `.nii.gz`, or the regions' volumes as JSON."""
        model = self._loaded()
        media = choose(request.headers.get("accept", "*/*"))
        if media is None:
            raise Refused("no such answer", f"Accept: {', '.join((*NIFTI, JSON))}", "ask for one of these", 406)
        files = await read_form(request, model.bundle.settings.channels, self.most_bytes)

        def work() -> tuple[Answer, bytes]:
            done = answer(model, files, self.most_bytes)
            return done, b"" if media == JSON else done.nifti()

        async with self._turn:
            done, content = await run_in_threadpool(work)
        if media == JSON:
            return JSONResponse(done.json(), headers=model.headers())
        name = f'attachment; filename="{model.bundle.settings.study}-label.nii.gz"'
        return Response(content, media_type=media, headers={**model.headers(), "Content-Disposition": name})

    async def models(self, _: Request) -> Response:
        """`GET /v1/models`: what is served, from which version and manifest."""
        return JSONResponse({"models": [self._loaded().describe()]})

    def _loaded(self) -> Model:
        if self.model is None:
            raise Refused("the model is being loaded", "a ready service", "ask /readyz and try again", 503)
        return self.model


def _told(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint with every failure told as JSON; what was not foreseen is logged here and not shown."""

    async def wrapped(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refused as refused:
            return JSONResponse(refused.told, refused.status)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            log.exception("a request failed")
            told = {"error": "internal error", "expected": "an answer", "remedy": "report it; the service logged it"}
            return JSONResponse(told, 500)

    return wrapped


async def _no_route(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = "no such method here" if status == 405 else "no such page"
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse({"error": what, "expected": ROUTES, "remedy": "see docs/serving.md"}, status, headers)


def record(release: Path) -> dict[str, str]:
    """Labels that BentoML freezes into a bento: the release's hash and the tags it is registered under."""
    try:
        settings, _ = bundle.verify(release)
    except SynthgateError:
        return {}  # said by `check`, before anything is served
    return {"release": versions.dvc_hash(release), "tags": " ".join(versions.of(release, settings.artifact))}


def tags_of(release: Path, labels: Mapping[str, str]) -> tuple[str, ...]:
    """The tags in `labels`, if they were recorded for just this release; else what Git knows."""
    if labels.get("release") == versions.dvc_hash(release):
        return tuple(labels.get("tags", "").split())
    return tuple(record(release).get("tags", "").split())


api = Api()


@bentoml.service(
    name="segmentation",
    workers=1,
    labels=record(RELEASE),
    http={"host": "127.0.0.1", "port": 3000},
    traffic={"timeout": SECONDS, "max_concurrency": AT_ONCE},
)
@bentoml.asgi_app(api, path="/v1")
class Segmentation:
    """Segments one imaging study per request; research use only."""

    def __init__(self) -> None:
        service: Any = Segmentation  # what BentoML's decorator made of this class
        labels = service.bento.info.labels if service.bento else service.labels
        api.most_bytes = most_bytes()
        api.model = Model(Bundle.load(RELEASE), tags_of(RELEASE, labels))

    @bentoml.on_deployment
    @staticmethod
    def check() -> None:
        """Stop before a worker starts where the release or the limit is not right."""
        most_bytes()
        bundle.verify(RELEASE)


def serve(host: str = "127.0.0.1", port: int = 3000, release: Path = Path("releases/brain")) -> NoReturn:
    """Serve a release until interrupted, in place of this process; `host` is an IP address. Raises ArtefactError."""
    bundle.verify(release)
    most_bytes()
    environment = {**os.environ, "SYNTHGATE_RELEASE": str(release.absolute())}
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--host", host, "--port", str(port)]
    os.execve(sys.executable, command, environment)
