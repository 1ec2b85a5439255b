"""What is hidden of addresses and of texts that hold them: passwords and tokens, however they are written."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlforge import masking
from mlforge.errors import MlforgeError, ProjectError, Where, engine_words
from mlforge.masking import masked, remember, without_login
from mlforge.model import Source

TEXTS = {
    "https://me:sesame@h/x.parquet": "https://***@h/x.parquet",
    "https://sesame@h/x.parquet": "https://***@h/x.parquet",
    "https://:sesame@h:80/x": "https://***@h:80/x",
    "https://me:se/sa?me@h/x": "https://***@h/x",
    "https://me:se@sa/me@h/x": "https://***@h/x",
    "s3://KEY:SEC/RET+x@bucket/a/*.parquet": "s3://***@bucket/a/*.parquet",
    "s3://bucket/a?.parquet": "s3://bucket/a?.parquet",
    "s3://bucket/day=1/a@b.parquet": "s3://bucket/day=1/a@b.parquet",
    "s3://bucket/a.parquet?s3_secret_access_key=sesame": "s3://bucket/a.parquet?***",
    "https://h/x.csv?X-Amz-Signature=sesame&X-Amz-Date=1": "https://h/x.csv?***",
    "https://h/x.csv?sesame": "https://h/x.csv?***",
    "LINE 1: FROM 's3://KEY:SEC... and more": "LINE 1: FROM 's3://***... and more",
    "look at redis://***: (s3://k:s@b/x?y=1), https://h.": "look at redis://***: (s3://***@b/x?***), https://h.",
    "https://h:8080 and h:8080": "https://h:8080 and h:8080",
    "https://h:8080/x.csv": "https://h:8080/x.csv",
    "https://[::1]:8080/x.csv?sig=s": "https://[::1]:8080/x.csv?***",
    "https://a.blob.core/c/x.parquet?sv=2024&sig=s%3D": "https://a.blob.core/c/x.parquet?***",
    "abfss://container@account.dfs.core.windows.net/x": "abfss://container@account.dfs.core.windows.net/x",
    "postgres://me:sesame@h:5432/db": "postgres://***@h:5432/db",
    "postgres:dbname=d host=h user=u password=sesame": "postgres:dbname=d host=h user=u password=***",
    "dbname=d password = 'se sa''me' host=h": "dbname=d password = ***'me' host=h",
    "mysql:host=h;Pwd=sesame;user=u": "mysql:host=h;Pwd=***;user=u",
    "sqlite:/data/x.db?key=1": "sqlite:/data/x.db?key=1",
    "File 'https://u:pw@h/x?sig=1' and \"s3://k:s@b/y\" fail": "File 'https://***@h/x?***' and \"s3://***@b/y\" fail",
    "write redis://user:password@host:6379/0": "write redis://user:password@host:6379/0",
    "sqlite:///data/online.db": "sqlite:///data/online.db",
    "data/day=2024-01-01/x.parquet": "data/day=2024-01-01/x.parquet",
    "f has 2 rows for token = 5, key=7": "f has 2 rows for token = 5, key=7",
    'config(entity="user", unique_key="id")': 'config(entity="user", unique_key="id")',
    "mail me@example.org: 5 % of a@b": "mail me@example.org: 5 % of a@b",
    "": "",
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_hidden(text: str) -> None:
    assert masked(text) == TEXTS[text]
    assert masked(masked(text)) == masked(text)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="'\"<>"), min_size=4)
)
def test_no_password_of_a_url_is_seen(password: str) -> None:
    secret = f"\N{SNOWMAN}{password}"  # no part of what else is there
    for login in (f"me:{secret}", secret.replace(":", ".").replace("/", "_").replace("@", "-").replace("?", ".")):
        shown = masked(f"cannot read https://{login}@host/a/b.parquet now")
        assert "\N{SNOWMAN}" not in shown
        assert shown.endswith(" now")


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=30).map(lambda text: f"\N{SNOWMAN}{text}")
)
def test_what_is_remembered_is_hidden_wherever_it_stands(password: str) -> None:
    known = set(masking._known)
    try:
        remember(f"s3://KEY:{quote(password)}@bucket/x.parquet")
        remember(f"https://h/x?a=1&token={quote(password, safe='')}")
        for said in (password, quote(password), quote(password, safe="")):
            assert said not in masked(f"<Provided>{said}</Provided> at 'host'")
    finally:
        masking._known.clear()
        masking._known.update(known)


def test_values_that_are_everywhere_are_not_remembered() -> None:
    before = set(masking._known)
    remember("s3://bucket/x.parquet?region=eu-west-1&versioning=true&sig=abc")
    remember("data/x.parquet")
    remember("https://me:pw@h/x")
    assert masking._known == before


def test_a_url_is_the_same_place_with_another_login() -> None:
    assert without_login("s3://a:b@bucket/x?v=1") == without_login("s3://c:d/e@bucket/x?v=1") == "s3://bucket/x?v=1"
    assert without_login("s3://bucket/x?v=1") == "s3://bucket/x?v=1"


def test_errors_and_sources_do_not_show_them() -> None:
    url = "https://me:open-sesame@h/x.parquet?token=tell-nobody"
    where = Where(url, 3)
    error = ProjectError(f"{url} is away", where=where, hint=f"look at {url}")
    assert str(error) == (
        "https://***@h/x.parquet?***:3: https://***@h/x.parquet?*** is away\n  hint: look at https://***@h/x.parquet?***"
    )
    source = Source(name="s", path=url, format="parquet")
    assert "https://***@h/x.parquet?***" in repr(source)
    assert source.path == url
    assert MlforgeError("it said tell-nobody").message == "it said ***", "the source was seen"


def ask(con: duckdb.DuckDBPyConnection, query: str) -> None:
    try:
        con.execute(query)
    except duckdb.Error as error:
        raise ProjectError(engine_words(error)) from error


def test_the_engines_error_that_ours_comes_from_does_not_show_them_either() -> None:
    url = "https://me:open-sesame@127.0.0.1:1/x.parquet?token=tell-nobody"
    with (
        duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}) as con,
        pytest.raises(ProjectError) as caught,
    ):
        ask(con, f"FROM read_parquet('{url}')")
    shown = str(caught.value.__cause__) + "".join(traceback.format_exception(caught.value))
    assert "https://***@127.0.0.1:1/x.parquet?***" in caught.value.message
    assert "sesame" not in shown
    assert "nobody" not in shown.replace('tell-nobody"\n', "")
