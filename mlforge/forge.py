"""The one place where the parts are put together: a project, its catalog, and the verbs on them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mlforge.building.options import BuildOptions, BuildResult, Selection
from mlforge.errors import CatalogError, ProjectError
from mlforge.online_verbs import OnlineVerbs

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from duckdb import DuckDBPyConnection

    from mlforge.building.builder import Builder
    from mlforge.building.gc import Collected
    from mlforge.building.validate import Validated
    from mlforge.building.work import Event
    from mlforge.model import CatalogState, FeatureRef, Keep, Project, Version
    from mlforge.observe.freshness import Freshness
    from mlforge.plan.steps import Plan
    from mlforge.retrieve import TrainingSet
    from mlforge.retrieve.explain import Explanation
    from mlforge.retrieve.replay import Replay
    from mlforge.retrieve.synced import Synced
    from mlforge.retrieve.version_diff import Diff
    from mlforge.unit.run import Outcome
    from mlforge.verify.result import Verification, VerifyOptions
    from mlforge.warehouses.duckdb import DuckDB


def open(path: str | Path = ".", *, profile: str | None = None, strict: bool = False) -> Forge:
    """A project (its folder or any folder in it), or a bare ``catalog.duckdb``.

    ``strict`` refuses features that are not proven to be free of leaks, and makes doubts about times of rows errors, as
    ``strict: true`` in mlforge.yaml does. Raises ProjectError or CatalogError."""
    given = Path(path)
    if given.suffix == ".duckdb" or given.is_file():
        if not given.is_file():
            raise CatalogError(f"there is no catalog at {given}", hint="run mlforge build to make it")
        return Forge(None, str(given.resolve()))
    from mlforge.project.loader import load

    project = load(given, profile)
    return Forge(replace(project, strict=True) if strict else project, project.warehouse.path)


class Forge(OnlineVerbs):
    """A project and its catalog. Nothing stays open between calls; retrieval never writes the catalog."""

    def __init__(self, project: Project | None, catalog_path: str) -> None:
        self._project = project
        self.catalog_path = catalog_path

    @property
    def project(self) -> Project:
        """The project. Raises ProjectError if only a catalog was opened."""
        if self._project is None:
            raise ProjectError("this needs a project, and only a catalog was opened", hint="open the project's folder")
        return self._project

    @property
    def _builder(self) -> Builder:
        from mlforge.building.builder import Builder

        return Builder(self.project, self.catalog_path)

    def _engine(self, options: BuildOptions = BuildOptions()) -> AbstractContextManager[DuckDB]:
        return self._builder.engine(options)

    # -- building

    def plan(self, selection: Selection = Selection(), options: BuildOptions = BuildOptions()) -> Plan:
        """What a build would do now, and why, with how late the rows of its sources come. Nothing is computed."""
        from mlforge.observe.lateness import noted

        made = self._builder.planned(selection, options, self.state(options.lock_timeout))[0]
        return noted(made, self.project, lambda: self._engine(options))

    def build(
        self,
        selection: Selection = Selection(),
        options: BuildOptions = BuildOptions(),
        notify: Callable[[Event], None] = lambda _event: None,
    ) -> BuildResult:
        """Plan and run the plan. One build at a time: another one waits for its lock, then plans anew.

        Raises MlforgeError of the kind that stopped it; a single feature that fails is in the result instead."""
        return self._builder.build(selection, options, notify)

    def validate(self, selection: Selection = Selection()) -> list[Validated]:
        """Whether the selected features would build: each rendered, compiled, and its checks run; nothing is built.

        What is wrong with a feature is in its result. Raises UsageError for a selection of nothing."""
        from mlforge.building.candidates import render_each
        from mlforge.building.validate import validate

        analysis, broken = render_each(self.project)
        state = self.state()
        names = tuple(n for n in selection.features if n not in broken)
        only_broken = bool(selection.features) and not names and not selection.tags and not selection.select
        wanted = () if only_broken else self._builder.selected(analysis, replace(selection, features=names), state)
        with self._engine() as warehouse, self._reading_if_any() as catalog:
            warehouse.known = state.source_states
            return validate(analysis, broken, wanted, warehouse, state, catalog)

    def test(
        self,
        names: Sequence[str] = (),
        *,
        select: Sequence[str] = (),
        notify: Callable[[Outcome], None] = lambda _outcome: None,
    ) -> list[Outcome]:
        """Run the unit tests in tests/*.yaml: those of these names (of tests, features or files), or all; of those only
        the tests of features that ``select`` means. What is wrong with one is in its outcome.

        Raises UsageError for a name that nothing has, ProjectError for a file of another form."""
        from mlforge.unit.session import run_tests

        chosen = Selection(select=tuple(select))
        return run_tests(
            self.project, names, (lambda a: self._builder.selected(a, chosen, self.state())) if select else None, notify
        )

    def generate_test(self, feature: str, *, key: Sequence[str] = (), rows: int = 5, force: bool = False) -> str:
        """Write tests/<feature>.yaml from at most ``rows`` rows of each source, of this key or of one, and what comes
        of them. Returns its path in the project. Raises UsageError, ProjectError for a file that exists."""
        from mlforge.unit.generate import generate

        return generate(self.project, feature, key, rows, force=force)

    def _reading_if_any(self) -> AbstractContextManager[DuckDBPyConnection | None]:
        from contextlib import nullcontext

        return self._reading() if Path(self.catalog_path).exists() else nullcontext()

    # -- reading

    def state(self, lock_timeout: float = 60.0) -> CatalogState:
        """What the catalog holds; an empty state if there is none yet, or only the sources' own tables."""
        from mlforge.building.builder import catalog_state

        return catalog_state(self._project, self.catalog_path, lock_timeout)

    @contextmanager
    def _reading(self, lock_timeout: float = 60.0) -> Iterator[DuckDBPyConnection]:
        """The catalog, read-only. SQL of label rows finds files as seen from the project's folder."""
        from mlforge.catalog.file import open_read
        from mlforge.model import WarehouseConfig
        from mlforge.sql.templates import literal

        limits = self._project.warehouse if self._project else WarehouseConfig()
        with open_read(
            self.catalog_path, lock_timeout=lock_timeout, threads=limits.threads, memory_limit=limits.memory_limit
        ) as con:
            if self._project:
                con.execute(f"SET file_search_path = {literal(self._project.root)}")
            yield con

    def listing(self, what: str, schedule: Collection[str] = ()) -> list[dict[str, Any]]:
        """All features, entities, sources, versions, feature-sets, tags, datasets or builds, as plain rows; with a
        ``schedule`` the features that have one of these tags.

        Raises UsageError for anything else."""
        from mlforge.catalog.listing import listing

        if schedule:
            from mlforge.building.schedule import scheduled

            return scheduled(what, self.listing(what), self._project, schedule)
        if not Path(self.catalog_path).exists():
            return listing(None, self._project, self.catalog_path, what)  # type: ignore[arg-type]
        with self._reading() as con:
            return listing(con, self._project, self.catalog_path, what)  # type: ignore[arg-type]

    def inspect(self, noun: str, name: str) -> dict[str, Any]:
        """All that the catalog says of one feature, entity or source; of a source with loaded_at also how late its rows
        come. Raises UsageError for an unknown one."""
        from mlforge.catalog.listing import inspect
        from mlforge.observe.lateness import described

        with self._reading() as con:
            found = inspect(con, noun, name)  # type: ignore[arg-type]
        return found | described(noun, name, self._project, self.state(), self._engine)

    def show(
        self, reference: str, *, limit: int = 10, where: Mapping[str, str] | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Rows of the version that ``name[@version][:columns]`` means, those whose keys equal ``where``: names, rows.

        Raises UsageError for an unknown name, and for on-demand features, which have no rows."""
        from mlforge.retrieve.browse import show

        with self._reading() as con:
            return show(con, reference, limit, where or {})

    def freshness(
        self, names: Collection[str] = (), *, everything: bool = False, now: datetime.datetime | None = None
    ) -> list[Freshness]:
        """Ages, as of ``now``, of what states ``max_age``, of all, or of what is named. Raises UsageError."""
        from mlforge.observe.freshness import freshness

        return freshness(self._project, self.state(), self._engine, self._reading, now, names, everything=everything)

    def stats(self, reference: str) -> list[dict[str, Any]]:
        """Statistics of the columns of the version that ``name[@version]`` means. Raises UsageError."""
        from mlforge.retrieve.browse import stats

        with self._reading() as con:
            return stats(con, reference)

    def render(self, feature: str) -> str:
        """The SQL of a feature of the project as Jinja renders it. Raises UsageError, FeatureError."""
        from mlforge.errors import MlforgeError, UsageError, did_you_mean
        from mlforge.project.call_features import call_functions
        from mlforge.render.jinja import Renderer

        known = self.project.features
        if feature not in known:
            raise UsageError(f"the project has no feature {feature!r}", hint=did_you_mean(feature, known))
        failed: dict[str, MlforgeError] = {}
        project = call_functions(self.project, failed)
        if feature in failed:
            raise failed[feature]
        return Renderer(project).render(project.features[feature]).sql

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Versions of a feature or of a feature set, oldest first. Raises UsageError for an unknown name."""
        from mlforge.catalog.listing import versions

        with self._reading() as con:
            return versions(con, name)

    def label_rows(
        self,
        entity: str,
        *,
        start: datetime.datetime | str,
        end: datetime.datetime | str,
        every: str,
        timestamp: str = "label_time",
    ) -> Any:
        """Label rows as an Arrow table: every key of the entity that the catalog knows, at ``start``, ``start + every``
        and so on before ``end`` (UTC). Raises UsageError for an unknown entity or a range that makes no sense."""
        from mlforge.catalog import reader
        from mlforge.retrieve.grid import label_grid

        with self._reading() as con:
            state = reader.state(con)
            return label_grid(con, state, entity, start=start, end=end, every=every, timestamp=timestamp)

    def get_training_data(
        self,
        features: str | FeatureRef | Sequence[str | FeatureRef],
        entity_df: Any,
        *,
        timestamp: str = "label_time",
        full_names: bool = False,
        known_as_of: str | datetime.datetime | None = None,
        ignore_loaded_at: bool = False,
    ) -> Any:
        """Label rows one to one, in their order, with the features' values at each row's time behind them.

        ``features``: references ``name[@version][:col,col]``, FeatureSpecs, or a feature set's name. ``entity_df``: an
        Arrow table, a pandas or Polars frame, a DuckDB relation, SQL text, or a path; the result is of that kind
        (Arrow for SQL and paths). ``timestamp`` names the label rows' time column. ``known_as_of``, an instant or a
        label column, answers from the source rows with ``loaded_at`` up to then; ``ignore_loaded_at`` takes all rows of
        the sources that have none. The dataset is recorded, or a warning says why it cannot be. Raises UsageError,
        RetrievalError, CatalogError."""
        return self.training_set(
            features,
            entity_df,
            timestamp=timestamp,
            full_names=full_names,
            known_as_of=known_as_of,
            ignore_loaded_at=ignore_loaded_at,
        ).data

    def training_set(
        self,
        features: str | FeatureRef | Iterable[str | FeatureRef],
        entity_df: Any,
        *,
        timestamp: str = "label_time",
        full_names: bool = False,
        known_as_of: str | datetime.datetime | None = None,
        ignore_loaded_at: bool = False,
        record: bool = True,
        late: bool = False,
    ) -> TrainingSet:
        """Like ``get_training_data``, with the record of how it was made. ``late``: the sources are asked how many
        values used rows that were loaded after the label's time."""
        from mlforge.model import FeatureRef
        from mlforge.retrieve import training_set
        from mlforge.retrieve.in_use import held
        from mlforge.retrieve.known_as_of import training_set_as_known
        from mlforge.retrieve.late import record_late
        from mlforge.retrieve.replay import keep

        features = [features] if isinstance(features, (str, FeatureRef)) else list(features)
        with held(self._reading, self.catalog_path, features if record else ()) as (con, state):
            if known_as_of is None:
                made = training_set(con, state, features, entity_df, timestamp=timestamp, full_names=full_names)
            else:
                made = training_set_as_known(
                    con,
                    state,
                    self.project,
                    features,
                    entity_df,
                    known_as_of=known_as_of,
                    timestamp=timestamp,
                    full_names=full_names,
                    ignore_loaded_at=ignore_loaded_at,
                )
            if late and self._project and known_as_of is None:
                record_late(self._project, state, made)
            if record:
                keep(state, made, self.catalog_path, full_names=full_names)
        return made

    def replay(self, dataset: str) -> Replay:
        """Make a recorded dataset again: ``same`` if its content hash is, else what changed. Raises UsageError."""
        from mlforge.catalog import log, reader
        from mlforge.retrieve.replay import find, replay

        with self._reading() as con:
            record = find(reader.datasets(con, self.catalog_path), dataset)
            return replay(con, reader.state(con), record, log.folder(self.catalog_path), self._project)

    def verify(self, what: Any = None, labels: Any = None, options: VerifyOptions | None = None) -> Verification:
        """Recompute features for a sample of label rows from the source rows known at each label's time, and compare
        with what retrieval gives. ``what``: references (None: all features), or a TrainingSet; without ``labels``, keys
        and times of each feature's rows and sources. What is found is recorded. Raises UsageError, ProjectError,
        RetrievalError."""
        from mlforge.verify.result import VerifyOptions
        from mlforge.verify.session import verify_catalog

        with self._reading() as con:
            return verify_catalog(con, self.catalog_path, self.project, what, labels, options or VerifyOptions())

    def explain(
        self, feature: str, key: Sequence[str], at: str, request: Mapping[str, str] | None = None
    ) -> Explanation:
        """Why a feature has its value for a key (``value`` or ``name=value``) at an instant (ISO 8601, UTC without a
        zone). Raises UsageError for what does not fit the feature."""
        from mlforge.retrieve.explain import ask

        with self._reading() as con:
            return ask(con, feature, key, at, request=request or {}, project=self._project)

    # -- versions

    def manifest(self) -> str:
        """Everything the catalog defines as one deterministic JSON text, for git."""
        from mlforge.catalog.manifest import encode, manifest

        with self._reading() as con:
            return encode(manifest(con, self._project.root if self._project else None))

    def sync(self, path: str | Path, options: BuildOptions, notify: Callable[[Event], None] = lambda _: None) -> Synced:
        """Build the versions of the manifest at ``path`` that are not here, under its numbers, and compare all.

        Raises MlforgeError of the kind that stopped it; what differs is in the result."""
        from mlforge.retrieve.sync import Here, sync

        verbs = lambda project: Forge(project, self.catalog_path)  # noqa: E731
        return sync(path, Here(self.project, verbs, self._engine, self._reading_if_any), options, notify)

    def diff(self, feature: str, old: str | None = None, new: str | None = None) -> Diff:
        """How version ``new`` (the current one) differs from ``old`` (the one before), by definition and by data.

        Raises UsageError for an unknown feature or version."""
        from mlforge.retrieve.version_diff import diff_versions

        with self._reading() as con:
            return diff_versions(con, feature, old, new)

    def rollback(
        self, feature: str, version: str | None = None, *, release: bool = False, lock_timeout: float = 60.0
    ) -> Version:
        """Make ``version`` (a pin; without one the version before) current and hold the feature there; ``release``
        makes the newest current and lets builds move it again. Returns the version that is now current.

        Raises UsageError, CatalogError, LockedError."""
        from mlforge.building import rollback
        from mlforge.catalog.lock import build_lock
        from mlforge.project.ref_grammar import parse_pin

        with build_lock(self.catalog_path, lock_timeout):
            pin = parse_pin(version) if version else None
            found = rollback.target(self.state(lock_timeout), feature, pin, release=release)
            rollback.move(self.catalog_path, feature, found, held=not release, lock_timeout=lock_timeout)
        return found

    def keep(self, patches: int | None = None, days: int | None = None) -> Keep:
        """The policy of gc: the project's, with what is given here in its place."""
        from mlforge.model import Keep

        own = self._project.keep if self._project else Keep()
        return Keep(patches=own.patches if patches is None else patches, days=own.days if days is None else days)

    def gc(
        self, keep: Keep | None = None, *, dry_run: bool = False, compact: bool = False, lock_timeout: float = 60.0
    ) -> Collected:
        """Delete versions that ``keep`` (the project's) lets go and nothing names; ``compact`` then shrinks the file.

        Raises CatalogError or LockedError with the catalog as it was."""
        from mlforge.building import gc
        from mlforge.catalog import reader
        from mlforge.catalog.lock import build_lock

        with build_lock(self.catalog_path, lock_timeout):
            with self._reading(lock_timeout) as con:
                state = reader.state(con)
                gone = gc.goners(con, state, keep or self.keep(), self.catalog_path)
            if dry_run:
                return gc.preview(state, gone)
            return gc.run(self.catalog_path, state, gone, lock_timeout=lock_timeout, compact=compact)
