"""Routes of those who train and operate: what was learned from what, which version stands where, training data."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api import examples_learning as examples
from service.api import learning
from service.api.body import BadRequest, JsonLines, JsonResponse
from service.api.deps import Api
from service.api.openapi import ASKED_FAILS, LINES, READ_FAILS, SAID_FAILS, Responses, request_body, success
from service.api.parsed import body_of, query
from service.api.record import record
from service.learning.lineage import add_dataset, add_model, add_run, datasets, models
from service.learning.lineage import model as found_model
from service.learning.report import report
from service.learning.stages import move, rollback
from service.review.export import note
from service.review.feeds import FEEDS


def learned(api: Api) -> APIRouter:
    """For operators: who trains tells what was made of what."""
    router = APIRouter(prefix="/v1/learning", tags=["learn"])
    _noting(router, api)
    _registering(router, api)
    _listing(router, api)
    return router


def _noting(router: APIRouter, api: Api) -> None:
    @router.post(
        "/datasets",
        summary="Note a version of a dataset",
        responses=success("LearningDone", {"object": "learning.dataset", "id": "5f1c"}) | SAID_FAILS,
        openapi_extra=request_body(learning.DatasetRequest, examples.DATASET_REQUESTS),
    )
    async def note_dataset(request: Request) -> Response:
        asked = await body_of(api, request, learning.DatasetRequest)
        of = asked.name, asked.version, asked.digest, asked.manifest, asked.exchanges or ()
        async with record(api) as store:
            await add_dataset(store, *of, by=request.state.caller.key_id)
        return JsonResponse({"object": "learning.dataset", "id": asked.digest})

    @router.post(
        "/runs",
        summary="Note a training run, or that it has ended",
        responses=success("LearningDone", examples.RUN) | SAID_FAILS,
        openapi_extra=request_body(learning.RunRequest, examples.RUN_REQUESTS),
    )
    async def note_run(request: Request) -> Response:
        asked = await body_of(api, request, learning.RunRequest)
        async with record(api) as store:
            await add_run(store, learning.run_of(asked), request.state.caller.key_id)
        return JsonResponse({"object": "learning.run", "id": asked.id, "state": asked.state})


def _registering(router: APIRouter, api: Api) -> None:
    registered: Responses = {201: success("LearnedModel", examples.MODEL)[200]}

    @router.post(
        "/models",
        summary="Register a version whose files are in the registry",
        status_code=201,
        responses=registered | SAID_FAILS,
        openapi_extra=request_body(learning.ModelRequest, examples.MODEL_REQUESTS),
    )
    async def register(request: Request) -> Response:
        asked = learning.candidate_of(await body_of(api, request, learning.ModelRequest))
        async with record(api) as store:
            made = await add_model(store, api.settings.registry_folder, asked, request.state.caller.key_id)
        return JsonResponse(learning.model(made), 201)


def _listing(router: APIRouter, api: Api) -> None:
    @router.get(
        "/datasets", summary="Datasets, newest first", responses=success("Datasets", examples.DATASETS) | READ_FAILS
    )
    async def list_datasets() -> Response:
        async with record(api) as store:
            return JsonResponse({"object": "list", "data": [learning.dataset(d) for d in await datasets(store)]})

    @router.get(
        "/models", summary="Versions, newest first", responses=success("LearnedModels", examples.MODELS) | READ_FAILS
    )
    async def list_learned() -> Response:
        async with record(api) as store:
            return JsonResponse({"object": "list", "data": [learning.model(v) for v in await models(store)]})


def promoting(api: Api) -> APIRouter:
    """For operators: one version, how it does in shadow, and where it is to stand."""
    router = APIRouter(prefix="/v1/learning/models", tags=["learn"])
    _looking(router, api)
    _moving(router, api)
    return router


def _looking(router: APIRouter, api: Api) -> None:
    @router.get(
        "/{name}/{version}", summary="One version", responses=success("LearnedModel", examples.MODEL) | READ_FAILS
    )
    async def one_learned(name: str, version: str) -> Response:
        async with record(api) as store:
            return JsonResponse(learning.model(await found_model(store, name, version)))

    @router.get(
        "/{name}/{version}/shadow",
        summary="What a version said beside the guard in force, and people",
        responses=success("Shadow", examples.SHADOW) | READ_FAILS,
    )
    async def show_shadow(name: str, version: str) -> Response:
        async with record(api) as store:
            return JsonResponse(learning.shadow(await report(store, await found_model(store, name, version))))


def _moving(router: APIRouter, api: Api) -> None:
    @router.post(
        "/{name}/{version}/stage",
        summary="Move a version: shadow, canary, enforced or retired",
        responses=success("LearnedModel", examples.MODEL) | SAID_FAILS,
        openapi_extra=request_body(learning.StageRequest, examples.STAGE_REQUESTS),
    )
    async def move_model(name: str, version: str, request: Request) -> Response:
        asked, caller = await body_of(api, request, learning.StageRequest), request.state.caller
        async with record(api) as store:
            learning.may_override(asked, caller)
            moved = await move(
                store,
                name,
                version,
                asked.to,
                caller.key_id,
                share=asked.share,
                keys=asked.keys or (),
                reason=asked.reason or "",
                override=asked.override,
                four_eyes=api.settings.four_eyes,
            )
        return JsonResponse(learning.model(moved))

    @router.post(
        "/{name}/rollback",
        summary="One step back: end the canary, or enforce what was enforced before",
        responses=success("Rollback", examples.ROLLBACK) | SAID_FAILS,
        openapi_extra=request_body(learning.RollbackRequest, examples.ROLLBACK_REQUESTS),
    )
    async def roll_back(name: str, request: Request) -> Response:
        asked = await body_of(api, request, learning.RollbackRequest)
        async with record(api) as store:
            back, gone = await rollback(store, name, request.state.caller.key_id, asked.reason or "")
        return JsonResponse({"object": "learning.rollback", "name": name, "model": back, "replaced": gone})


def exporting(api: Api) -> APIRouter:
    """For operators: what reviewers decided, as training data."""
    router = APIRouter(prefix="/v1/review", tags=["learn"])
    what = {"name": "what", "in": "query", "schema": {"enum": list(FEEDS), "default": "guards"}}

    @router.get(
        "/export",
        summary="What reviewers decided, as training data",
        responses=LINES | ASKED_FAILS,
        openapi_extra={"parameters": [what]},
    )
    async def export(request: Request) -> Response:
        name = query(request, "what").get("what", "guards")
        if (feed := next((of for known, of in FEEDS.items() if known == name), None)) is None:
            raise BadRequest(f"what: one of {', '.join(FEEDS)}.", "what")
        async with record(api) as store:
            made = [row async for row in feed(store)]
            lines = JsonLines(made)
            await note(store, request.state.caller.key_id, name, made, bytes(lines.body))  # before it leaves
        return lines

    return router
