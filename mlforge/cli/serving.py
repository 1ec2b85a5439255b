"""The command serve."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlforge.cli.context import options, set_profile, words
from mlforge.cli.output import count, echo

if TYPE_CHECKING:
    from mlforge.serve.server_settings import ServeSettings

KEYS = "MLFORGE_API_KEYS"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("serve")(serve)


def serve(
    ctx: typer.Context,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 is one that is free.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that answer.", min=1)] = 1,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="Store to serve, without a project: redis://..., sqlite:///path.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name that features are published under; else the profile's.")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Origin whose pages may call; repeatable; * is all.")
    ] = None,
    max_body: Annotated[int, typer.Option(metavar="BYTES", help="Size of a request's body.", min=1)] = 4_194_304,
    max_keys: Annotated[int, typer.Option(metavar="N", help="Entity rows of a request.", min=1)] = 1_000,
    max_batch: Annotated[int, typer.Option(metavar="N", help="Entity rows of a batch.", min=1)] = 10_000,
    max_features: Annotated[
        int, typer.Option(metavar="N", help="Features, and columns by name, of a request.", min=1)
    ] = 1_000,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Time for a request.", min=0.01)] = 5.0,
    grace: Annotated[
        int, typer.Option(metavar="SECONDS", help="Time for requests at work when the server is to stop.", min=0)
    ] = 30,
    log_requests: Annotated[
        str | None, typer.Option(metavar="DIR", help="Log a sample of requests and answers here, as Parquet.")
    ] = None,
    log_sample: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the requests that are logged.", min=0, max=1)
    ] = 0.01,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Profile of mlforge.yaml.", callback=set_profile, metavar="NAME")
    ] = None,
) -> None:
    """Serve the online store over HTTP until interrupted. The catalog is never opened.

    API keys come from the variable MLFORGE_API_KEYS, with commas between; without it everybody may read."""
    _check_installed()
    found, keys = _store(ctx, store, namespace)
    from mlforge.serve.server_settings import ServeSettings

    settings = ServeSettings(
        store=found,
        namespace=found["namespace"],
        api_keys=keys,
        cors=words(cors),
        max_body=max_body,
        max_keys=max_keys,
        max_batch=max_batch,
        max_features=max_features,
        timeout=timeout,
        log_requests=log_requests,
        log_sample=log_sample,
    )
    _run(settings, host=host, port=port, workers=workers, grace=grace)


def _run(settings: ServeSettings, *, workers: int, **more: Any) -> None:
    from mlforge.serve.running import serve as run

    def say(url: str) -> None:
        access = count(len(settings.api_keys), "API key") if settings.api_keys else f"open to all ({KEYS} is not set)"
        echo(f"serving {settings.namespace} from {settings.where()} at {url}")
        echo(f"{count(workers, 'worker')}; {access}; {url}/docs describes it; Ctrl-C ends it")
        import sys

        sys.stdout.flush()

    run(settings, workers=workers, notify=say, **more)


def _check_installed() -> None:
    from mlforge.errors import UsageError

    for package in ("fastapi", "uvicorn", "prometheus_client"):
        if find_spec(package) is None:
            raise UsageError(f"serving needs the package {package}", hint="pip install 'mlforge[serve]'")


def _store(ctx: typer.Context, store: str | None, namespace: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The store's settings, with its namespace, and the API keys."""
    from mlforge.errors import UsageError
    from mlforge.project.environ import Environ
    from mlforge.stores.opening import settings_of

    if store is not None:
        if not namespace:
            raise UsageError("--store needs --namespace", hint="the namespace is the name of the project it comes from")
        return {**settings_of(store), "namespace": namespace}, _keys(Environ({}))
    from mlforge.project.config import read_config
    from mlforge.project.loader import find_root
    from mlforge.project.online_settings import read_online

    root = find_root(options(ctx).project)
    found = read_online(root, read_config(root, options(ctx).profile).profile)
    return {**found, "namespace": namespace or found["namespace"]}, _keys(Environ.of(root))


def _keys(environ: Any) -> tuple[str, ...]:
    from mlforge.errors import UsageError

    text = environ.get(KEYS) or ""
    keys = tuple(dict.fromkeys(key.strip() for key in text.split(",") if key.strip()))
    if text and not keys:
        raise UsageError(f"{KEYS} is set and holds no key", hint="unset it to serve without keys")
    return keys
