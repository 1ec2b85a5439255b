"""The verbs about online stores that ``Forge`` has. They open the catalog and the store, and record what was done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlforge.errors import OnlineError

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from duckdb import DuckDBPyConnection

    from mlforge.agreement.result import Agreement, AgreementOptions
    from mlforge.model import FeatureRef, Project
    from mlforge.online.client import Client, EntityRows
    from mlforge.publishing.run import Progress, Published
    from mlforge.stores.store import Store


class OnlineVerbs:
    """What ``Forge`` does with the online store of its profile."""

    _project: Project | None
    catalog_path: str
    _client: Client | None = None
    _online: Store | Mapping[str, Any] | str | None = None  # stated in Python

    if TYPE_CHECKING:  # Forge has it

        def _reading(self, lock_timeout: float = 60.0) -> AbstractContextManager[DuckDBPyConnection]: ...

    def online_settings(self) -> dict[str, Any]:
        """What the profile, or ``Definitions``, says of the online store. Raises ProjectError, OnlineError."""
        from mlforge.project.online_settings import DEFAULTS, read_online
        from mlforge.stores.opening import settings_of

        if self._project is None:
            raise OnlineError(
                "a catalog alone names no online store", hint="open the project's folder, or use mlforge.online.Client"
            )
        if self._online is None:
            return read_online(Path(self._project.root), self._project.profile)
        return {"namespace": self._project.name, **DEFAULTS, **settings_of(self._online)}

    def publish(
        self,
        features: Sequence[str] = (),
        feature_sets: Sequence[str] = (),
        *,
        force: bool = False,
        full: bool = False,
        store: Store | None = None,
        notify: Callable[[Progress], None] = lambda _progress: None,
    ) -> Published:
        """Bring the profile's online store up to date with the catalog; without names, with all that is current.

        ``full`` writes every key anew; ``force`` publishes an older catalog than the one before. ``store`` stands in
        for the profile's. Raises UsageError, OnlineError, StoreDownError; readers then see what they saw before."""
        from mlforge.catalog import reader
        from mlforge.publishing.recording import Recorder
        from mlforge.publishing.run import Settings, publish
        from mlforge.stores.opening import open_store

        given = self.online_settings()
        opened = store or given.get("store") or open_store(given)
        try:
            with self._reading() as con:
                recorder = Recorder(con, self.catalog_path, opened, given["namespace"])
                settings = Settings(
                    namespace=given["namespace"],
                    project=self._project.name if self._project else "",
                    max_points=given["max_points"],
                    grace=given["grace"],
                    force=force,
                    full=full,
                    notify=notify,
                    showing=recorder.showing,
                )
                done = publish(con, reader.state(con), opened, settings, features, feature_sets)
            recorder.shown(done)
        finally:
            if store is None and "store" not in given:
                opened.close()
        return done

    def online(self) -> Client:
        """A client of the profile's online store, the same one each time."""
        from mlforge.online.client import Client

        if self._client is None:
            given = self.online_settings()
            self._client = Client(given.get("store") or given, given["namespace"])
        return self._client

    def get_online_features(
        self,
        features: str | FeatureRef | Sequence[str | FeatureRef],
        entity_rows: EntityRows,
        *,
        at: datetime.datetime | str | None = None,
        with_status: bool = False,
        full_names: bool = False,
    ) -> list[dict[str, Any]]:
        """Entity rows with features as the online store has them, now or at an instant: ``Client`` says more."""
        return self.online().get_online_features(
            features, entity_rows, at=at, with_status=with_status, full_names=full_names
        )

    def online_status(self) -> dict[str, Any]:
        """What the online store says of itself, and what is published there. Raises OnlineError, StoreDownError."""
        from mlforge.online.status import status

        return status(self.online())

    def verify_online(
        self, what: Sequence[str] = (), options: AgreementOptions | None = None, *, requests: str | Path | None = None
    ) -> Agreement:
        """Compare what the profile's online store answers, for a sample of keys and instants, with what retrieval gives
        on the versions that are published; or what was served, as ``requests``, a folder or a pattern of files, logged
        it. ``what``: references and feature sets, else all. What is found is recorded.

        Raises OnlineError for what is not published, StoreDownError, UsageError where no request is logged."""
        from mlforge.agreement.result import AgreementOptions
        from mlforge.agreement.session import verify_requests, verify_store

        options = options or AgreementOptions()
        with self._reading() as con:
            if requests is not None:
                return verify_requests(con, self.catalog_path, str(requests), what, options)
            return verify_store(con, self.catalog_path, self.online(), what, options)
