"""The nouns every room shares. All are frozen values; none of them does I/O."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from mlforge.duration import Duration as Duration  # noqa: PLC0414 - a noun like the others, for all who import them
from mlforge.masking import masked, remember
from mlforge.states import FileLayout as FileLayout  # noqa: PLC0414
from mlforge.states import FileState as FileState  # noqa: PLC0414
from mlforge.states import Slice as Slice  # noqa: PLC0414
from mlforge.states import SourceState as SourceState  # noqa: PLC0414
from mlforge.states import Span as Span  # noqa: PLC0414
from mlforge.states import TypeChange as TypeChange  # noqa: PLC0414

Closed = Literal["left", "right"]
Kind = Literal["windows", "plain", "static", "on_demand"]
Side = Literal["input", "output"]
Severity = Literal["error", "warn"]
Doubt = Literal["midnight", "epoch", "future", "loaded", "constant"]  # what looks wrong of the times of rows


class Source(Struct, frozen=True, kw_only=True):
    """Rows that exist already. Exactly one of ``path`` (files, or a DuckDB file together with ``table``), ``table``
    (of the warehouse itself) and ``data`` (an object given in Python) says where."""

    name: str
    path: str | None = None  # absolute, or a URL; may hold globs; a directory means all files of the format below it
    table: str | None = None
    data: Any = None
    format: Literal["parquet", "csv", "json", "duckdb", "table", "data"]
    options: dict[str, Any] = {}  # reader options: delim, header, columns, dateformat ...; hive_partitioning
    types: dict[str, str] = {}  # column -> DuckDB type, of files; without it, the type that is found
    timestamp: str | None = None
    delay: Duration | None = None  # so long after its timestamp a row is known; None: 0s, of a DATE or text 1d
    known: dict[str, str] = {}  # column -> SQL over the row for the instant from which its value is known
    loaded_at: str | None = None
    unique_key: tuple[str, ...] = ()
    deleted: str | None = None
    cursor: str | None = None
    max_age: Duration | None = None  # older is stale
    warn_age: Duration | None = None
    description: str | None = None
    file: str | None = None  # where it is stated; None: mlforge.yaml
    line: int | None = None  # in that file

    def __post_init__(self) -> None:
        if self.path:
            remember(self.path)

    def __repr__(self) -> str:
        return masked(str(super().__repr__()))


class Entity(Struct, frozen=True, kw_only=True):
    """What features describe. ``parts`` are the natural columns of a surrogate key, empty for an ordinary one."""

    name: str
    keys: tuple[str, ...]
    parts: tuple[str, ...] = ()
    description: str | None = None
    line: int | None = None


class Check(Struct, frozen=True, kw_only=True):
    """One validator on a column of one side of a feature."""

    name: str  # not_null, unique, greater_than, ..., sql
    column: str | None = None  # None for sql(...)
    side: Side | None = None  # None: the output column if there is one, else the event row's
    args: dict[str, Any] = {}
    severity: Severity = "error"
    tolerance: float = 0.0  # share of rows that may fail

    @property
    def label(self) -> str:
        """How the check is shown: ``greater_than(0)``."""
        return f"{self.name}({', '.join(repr(v) for v in self.args.values())})"


class FeatureConfig(Struct, frozen=True, kw_only=True):
    """What ``{{ config(...) }}`` of one feature said, checked and typed."""

    entity: str
    timestamp: str | None = None
    timestamp_format: str | None = None
    closed: Closed | None = None
    delay: Duration | None = None
    ttl: Duration | None = None
    interval: Duration | None = None
    timezone: str | None = None
    description: str | None = None
    columns: dict[str, str] = {}  # output column -> description
    tags: tuple[str, ...] = ()
    owner: str | None = None
    max_age: Duration | None = None  # older is stale
    validators: tuple[Check, ...] = ()
    contract: bool = False
    on_demand: bool = False
    request: dict[str, str] = {}  # request column -> DuckDB type
    allow_lookahead: bool = False
    assume_final: bool = False  # rows do not change after their time, says the user
    plausible: tuple[Doubt, ...] = ()  # doubts about the times of rows that the user has answered
    lookback: Duration | None = None  # so much of the newest event time is read again by every build
    incremental: Literal["auto", "by_key", "never"] = "auto"


class Pin(Struct, frozen=True):
    """A version as a user writes it: nothing, MAJOR, MAJOR.MINOR or MAJOR.MINOR.PATCH."""

    major: int | None = None
    minor: int | None = None
    patch: int | None = None

    def __str__(self) -> str:
        return ".".join(str(p) for p in (self.major, self.minor, self.patch) if p is not None)


class FeatureRef(Struct, frozen=True, kw_only=True):
    """A reference to a feature: ``name[@version][:col,col]`` plus what only the long form can say."""

    name: str
    version: Pin = Pin()
    columns: tuple[str, ...] = ()  # empty: all
    keys: dict[str, str] = {}  # entity key column -> label column
    prefix: str = ""

    def __str__(self) -> str:
        pin = f"@{self.version}" if self.version.major is not None else ""
        columns = f":{','.join(self.columns)}" if self.columns else ""
        return f"{self.name}{pin}{columns}"


class FeatureSet(Struct, frozen=True, kw_only=True):
    """A named list of features that one model uses, as mlforge.yaml states it."""

    name: str
    members: tuple[FeatureRef, ...]
    description: str | None = None
    file: str | None = None  # where it is stated; None: mlforge.yaml
    line: int | None = None


class Stated(Struct, frozen=True, kw_only=True):
    """What a Python function says of a feature beside its SQL, and the lines of the user's file."""

    config: dict[str, Any]
    line: int  # of the function
    arguments: dict[str, int] = {}  # argument of the decorator -> its line
    lines: tuple[int, ...] = ()  # for each line of the feature's text, the line it came from


class FeatureFile(Struct, frozen=True, kw_only=True):
    """The text of one feature before anything is rendered.

    A feature of kind ``python`` has no text yet, but a ``function`` (project.python.Feature) that is called when the
    project is rendered; it becomes one of kind ``sql`` with ``stated``."""

    name: str
    path: str  # as shown to the user, relative to the project
    text: str = ""
    kind: Literal["sql", "python"] = "sql"
    function: Any = None
    stated: Stated | None = None


class MacroFile(Struct, frozen=True):
    """One file of the user's Jinja macros."""

    path: str
    text: str


class WarehouseConfig(Struct, frozen=True, kw_only=True):
    """Where a profile computes and stores. Only ``duckdb`` exists so far."""

    kind: Literal["duckdb"] = "duckdb"
    path: str = "catalog.duckdb"  # absolute after loading
    threads: int | None = None
    memory_limit: str | None = None


class Keep(Struct, frozen=True, kw_only=True):
    """What gc keeps: that many newest PATCHes of each MINOR, and everything younger than so many days."""

    patches: int = 30
    days: int = 90


class Project(Struct, frozen=True, kw_only=True):
    """A folder of features and the configuration beside it, for one profile."""

    name: str
    root: str  # absolute path of the folder that holds mlforge.yaml
    file: str = "mlforge.yaml"  # where sources and entities are stated, as shown to the user
    profile: str
    warehouse: WarehouseConfig
    sources: dict[str, Source] = {}
    entities: dict[str, Entity] = {}
    feature_sets: dict[str, FeatureSet] = {}
    vars: dict[str, Any] = {}
    features: dict[str, FeatureFile] = {}
    macros: tuple[MacroFile, ...] = ()
    keep: Keep = Keep()
    strict: bool = False


class LineMap(Struct, frozen=True):
    """For each line of rendered SQL (index 0 is line 1): the file and line of the user that it came from."""

    lines: tuple[tuple[str, int], ...]

    def find(self, line: int) -> tuple[str, int]:
        """The user's (file, line) for a line of rendered SQL; past the end, the last one."""
        return self.lines[min(max(line, 1), len(self.lines)) - 1]


class Rendered(Struct, frozen=True, kw_only=True):
    """One feature after Jinja: plain SQL and its configuration.

    In ``sql`` a source is the table ``"_mlforge_source"."<name>"`` and a reference to another feature the table
    ``"_mlforge_ref"."<name>"``, so the text parses, binds and runs wherever those two schemas exist."""

    name: str
    path: str
    sql: str
    config: FeatureConfig
    sources: tuple[str, ...] = ()
    refs: tuple[FeatureRef, ...] = ()
    lines: LineMap


SOURCE_SCHEMA = "_mlforge_source"
REF_SCHEMA = "_mlforge_ref"


class Version(Struct, frozen=True, order=True):
    """A full version of a feature."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read ``2.1.3``."""
        major, minor, patch = (int(p) for p in text.split("."))
        return cls(major, minor, patch)

    def matches(self, pin: Pin) -> bool:
        """Whether a pin allows this version."""
        wanted = (pin.major, pin.minor, pin.patch)
        return all(w is None or w == h for w, h in zip(wanted, (self.major, self.minor, self.patch), strict=True))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class Column(Struct, frozen=True, kw_only=True):
    """One output column of a feature."""

    name: str
    type: str  # DuckDB type
    sql: str = ""  # the text of its expression, as the user wrote it, after stars were expanded
    description: str | None = None


class Input(Struct, frozen=True, kw_only=True):
    """An expression evaluated on every event row and stored: an argument or filter of a window, or a row column."""

    name: str  # _mlforge_i0 (inputs of windows) or _mlforge_r0 (row columns)
    sql: str
    type: str


class Aggregate(Struct, frozen=True, kw_only=True):
    """One trailing window. ``args`` are names of inputs or literal SQL."""

    name: str  # _mlforge_a0
    function: str  # DuckDB's primary name, lower case
    args: tuple[str, ...]
    distinct: bool = False
    filter: str | None = None  # name of a BOOLEAN input
    window: Duration | None  # None: ever
    type: str  # of the result
    method: Literal["native", "fixed", "sorted", "ordered"] = "native"
    scale: int | None = None  # method "fixed": the sum is of (x * 2^scale)::HUGEINT


class Output(Struct, frozen=True, kw_only=True):
    """An output column as an expression over aggregates, row columns and the instant ``_mlforge_at`` (TIMESTAMP).

    ``empty`` is the expression where no row is in any window."""

    name: str
    sql: str
    type: str
    empty: str = "NULL"


class Key(Struct, frozen=True):
    """One column of a feature's key."""

    name: str
    type: str


class RefJoin(Struct, frozen=True, kw_only=True):
    """What a compiled on-demand feature reads from one feature it refs."""

    alias: str
    feature: str
    version: str  # the full version it was built against


class Magnitude(Struct, frozen=True):
    """How large and how fine the values of a float input are, over all rows that a version ever took in."""

    rows: int
    largest: int | None  # binary exponent of the greatest magnitude; None: only zeros
    smallest: int | None  # of the least one that is not zero
    finite: bool = True


class Proof(Struct, frozen=True, kw_only=True):
    """Whether the rows of a version hold, or hide, anything that was not known at their time, and how that is known.

    ``plan``: the SQL alone shows that they do not, for all data. ``rows``: every row of the build was looked at.
    ``unproven``: neither can show it. ``allowed``: the feature's configuration says that it may."""

    status: Literal["plan", "rows", "unproven", "allowed"]
    why: str | None = None  # why it is unproven, or the line that allows it
    assumes: tuple[str, ...] = ()  # sources without a time, which are taken as known always
    notes: tuple[str, ...] = ()  # what was taken from the sources, in words
    against: dict[str, str] | None = None  # source -> when its rows are known, as its own rows were proven by that

    def __str__(self) -> str:
        text = {"plan": "proven (plan)", "rows": "proven (rows)"}.get(self.status, self.status) + (
            f": {self.why}" if self.why else ""
        )
        always = (f"{', '.join(self.assumes)} is taken as known always",) if self.assumes else ()
        return "; ".join((text, *always, *self.notes))


def proof_text(proof: Proof | None) -> str:
    """What is known of a version's leaks, in words; None is of a version that was made before that was looked at."""
    return str(proof or Proof(status="unproven", why="it was made by an earlier mlforge"))


class Compiled(Struct, frozen=True, kw_only=True):
    """Everything the engine must know to store and answer one version of a feature, without the project.

    It is kept as JSON beside the version, so a bare catalog can be read by any later mlforge."""

    feature: str
    kind: Kind
    keys: tuple[Key, ...]
    outputs: tuple[Output, ...]
    timestamp: str | None = None
    closed: Closed = "right"
    delay: Duration = Duration(0, "s")
    ttl: Duration | None = None
    interval: Duration | None = None
    timezone: str | None = None
    event_sql: str = ""  # SELECT keys, timestamp, inputs, row columns FROM the event relation; for static: the result
    inputs: tuple[Input, ...] = ()
    rows: tuple[Input, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    loaded_at: str | None = None
    request: dict[str, str] = {}
    refs: tuple[RefJoin, ...] = ()
    parts: tuple[str, ...] = ()  # natural columns of a surrogate key
    uses_as_of: bool = False
    reads: dict[str, str] = {}  # feature that is read -> the full version whose rows were
    magnitudes: dict[str, Magnitude] = {}  # float inputs of sums -> the range of their values
    table: str = ""  # physical table in schema store
    proof: Proof | None = None  # None: made by an mlforge that did not look


class Definition(Struct, frozen=True, kw_only=True):
    """What the version of a feature is decided by, kept as JSON beside each version.

    ``sql`` is the rendered text with stars expanded; meaning is always derived from it by the running code, so that an
    upgrade of mlforge alone changes nothing."""

    feature: str
    kind: Kind
    entity: str
    keys: tuple[Key, ...]
    timestamp: str | None = None
    closed: Closed = "right"
    delay: Duration = Duration(0, "s")
    ttl: Duration | None = None
    interval: Duration | None = None
    timezone: str | None = None
    sql: str
    columns: tuple[Column, ...]
    sources: dict[str, dict[str, Any]] = {}  # source name -> parse options and declared columns that shape its rows
    refs: dict[str, str] = {}  # feature -> MAJOR.MINOR
    request: dict[str, str] = {}
    timestamp_format: str | None = None


class StoredVersion(Struct, frozen=True, kw_only=True):
    """One version of a feature as the catalog keeps it."""

    feature: str
    version: Version
    definition: Definition
    compiled: Compiled
    source_states: dict[str, SourceState]
    build: int
    created_at: str  # UTC, ISO 8601
    reason: str  # why this version was made, in words
    rows: int


class StoredFeature(Struct, frozen=True, kw_only=True):
    """A feature in the catalog: its versions, oldest first, and which of them is current."""

    name: str
    current: Version
    held: bool  # after a rollback: builds record versions but do not move ``current``
    versions: tuple[StoredVersion, ...]
    config: FeatureConfig
    path: str
    sql: str  # rendered text of the newest build, for display

    def get(self, version: Version) -> StoredVersion:
        """The stored version. Raises KeyError if the catalog has none such."""
        for stored in self.versions:
            if stored.version == version:
                return stored
        raise KeyError(str(version))


class StoredSet(Struct, frozen=True, kw_only=True):
    """One version of a feature set. Every member names its feature's MAJOR."""

    name: str
    version: int
    members: tuple[FeatureRef, ...]
    written: tuple[str, ...]  # the entries as the project wrote them, to see whether the user changed the list


class Run(Struct, frozen=True, kw_only=True):
    """What a build did for one feature."""

    feature: str
    version: str
    mode: str
    why: str | None
    event_rows: int
    added: int
    closed: int
    seconds: float


class CatalogState(Struct, frozen=True, kw_only=True):
    """What a catalog holds, as far as planning and retrieval must know."""

    features: dict[str, StoredFeature] = {}
    feature_sets: dict[str, tuple[StoredSet, ...]] = {}  # versions oldest first
    last_build: int = 0
    runs: dict[str, dict[str, Run]] = {}  # feature -> mode -> the newest run of that mode

    @property
    def source_states(self) -> dict[str, SourceState]:
        """What each source held when the newest of the versions that read it was built."""
        newest = sorted((f.versions[-1] for f in self.features.values() if f.versions), key=lambda v: v.build)
        return {name: state for version in newest for name, state in version.source_states.items()}


class Candidate(Struct, frozen=True, kw_only=True):
    """A feature of the project, compiled, with the state its sources are in now."""

    definition: Definition
    compiled: Compiled
    config: FeatureConfig
    path: str
    sql: str
    source_states: dict[str, SourceState]
    warnings: tuple[str, ...] = ()
    seen_sql: str = ""  # the event relation with the instant from which each row is known, where rows must prove it
