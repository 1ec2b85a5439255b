"""An online store in DynamoDB: one item for each name, key ``name``, attribute ``value``, both binary.

Reads are strongly consistent. A batch is not one instant, and need not be: cluster.py says why.

Items that nobody needs any more, of keys that vanished and of versions that were replaced, get the attribute
``expires`` (seconds since the epoch), and DynamoDB deletes them some time after it, without charge and without another
publish. No other item ever has it: a key that reads EXPIRED is still there, with its event time. Writing an item anew
takes the attribute away. A table whose time to live is not switched on is cleaned by the next publish."""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlforge.errors import OnlineError, StoreDownError, StoreRefusedError, UsageError
from mlforge.masking import place, remember

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # said when a store is made: the class can be named without it
    boto3 = None

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlforge.stores.store import Change

BATCH = 100  # keys in one BatchGetItem, a limit of DynamoDB
THREADS = 16  # conditional writes at once: a batch of them would be all or nothing
_NAMES = {"#n": "name", "#v": "value"}
_LOST = "ConditionalCheckFailedException"
_BUSY = {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"}
_NO_ENTRY = {
    "AccessDeniedException",
    "UnrecognizedClientException",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "ResourceNotFoundException",
}
EXPIRES = "expires"


class DynamoDBStore:
    """An online store in a table of DynamoDB, whose partition key is ``name``, binary.

    ``create``: make the table, on demand and with time to live, if it is not there. ``endpoint``: another address than
    AWS's. Credentials are boto3's own affair. ``timeout``: seconds that one call may take."""

    kind = "dynamodb"
    largest = 400 * 1024 - 64  # an item may have 400 KB, names of attributes and ``expires`` included

    def __init__(
        self,
        table: str = "mlforge-online",
        *,
        region: str | None = None,
        endpoint: str | None = None,
        create: bool = False,
        timeout: float = 5.0,
    ) -> None:
        if boto3 is None:
            raise UsageError("the DynamoDB store needs the package boto3", hint="pip install 'mlforge[dynamodb]'")
        self.table = table
        self._timeout = timeout
        config = Config(
            connect_timeout=timeout,
            read_timeout=timeout,
            max_pool_connections=THREADS,
            retries={"mode": "standard", "max_attempts": 3},
        )
        try:
            self._client = boto3.client("dynamodb", region_name=region, endpoint_url=endpoint, config=config)
        except (BotoCoreError, ValueError) as error:
            text = f"the endpoint {place(endpoint)} is no URL" if "endpoint" in str(error) and endpoint else str(error)
            raise UsageError(f"settings of the online store do not fit: {text}") from None
        self._create = create
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mlforge-dynamodb")

    def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        """One BatchGetItem for each hundred names, at once; what DynamoDB leaves out is asked for again."""
        distinct = list(dict.fromkeys(names))
        parts = [distinct[n : n + BATCH] for n in range(0, len(distinct), BATCH)]
        found: dict[bytes, bytes] = {}
        with self._in_words():
            if len(parts) > 1:
                for more in self._pool.map(self._batch, parts):
                    found.update(more)
            elif parts:
                found = self._batch(parts[0])
        return [found.get(name) for name in names]

    def _batch(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        left: dict[str, Any] = {self.table: {"Keys": [{"name": {"B": n}} for n in names], "ConsistentRead": True}}
        found: dict[bytes, bytes] = {}
        pause, deadline = 0.02, time.monotonic() + self._timeout
        while left:
            try:
                answer = self._client.batch_get_item(RequestItems=left)
            except ClientError as error:
                if self._missing(error):
                    return {}
                raise
            for item in answer["Responses"].get(self.table, []):
                found[item["name"]["B"]] = item["value"]["B"]
            left = answer.get("UnprocessedKeys") or {}
            if left:
                if time.monotonic() > deadline:
                    raise StoreDownError(f"DynamoDB does not give all items of table {self.table!r}", hint=_SLOW)
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 1.0)
        return found

    def _missing(self, error: ClientError) -> bool:
        """Whether the table is not there, which reads like an empty one if it would be made for writing."""
        return self._create and _code(error) == "ResourceNotFoundException"

    async def aread(self, names: Sequence[bytes]) -> list[bytes | None]:
        """``read`` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read_alone, list(names))

    def _read_alone(self, names: Sequence[bytes]) -> list[bytes | None]:
        """``read`` from within the pool: a part never waits for a free thread there."""
        found: dict[bytes, bytes] = {}
        distinct = list(dict.fromkeys(names))
        with self._in_words():
            for start in range(0, len(distinct), BATCH):
                found.update(self._batch(distinct[start : start + BATCH]))
        return [found.get(name) for name in names]

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        """One conditional write for each change, some at once. If one fails, others may have been applied."""
        with self._in_words():
            return list(self._pool.map(self._swap_one, changes))

    def _swap_one(self, change: Change) -> bool:
        try:
            self._write(change)
        except ClientError as error:
            if _code(error) == _LOST:
                return False
            if not self._missing(error):
                raise
            self._make_table()
            return self._swap_one(change)
        return True

    def _write(self, change: Change) -> None:
        condition: dict[str, Any] = {"TableName": self.table}
        if change.old is None:
            condition |= {"ConditionExpression": "attribute_not_exists(#n)", "ExpressionAttributeNames": {"#n": "name"}}
        else:
            condition |= {
                "ConditionExpression": "#v = :old",
                "ExpressionAttributeNames": {"#v": "value"},
                "ExpressionAttributeValues": {":old": {"B": change.old}},
            }
        if change.new is None:
            self._client.delete_item(Key={"name": {"B": change.name}}, **condition)
        else:
            self._client.put_item(Item={"name": {"B": change.name}, "value": {"B": change.new}}, **condition)

    def _make_table(self) -> None:
        try:
            self._client.create_table(
                TableName=self.table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "B"}],
                KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            )
            made = True
        except ClientError as error:
            if _code(error) != "ResourceInUseException":  # another thread was faster
                raise
            made = False
        self._client.get_waiter("table_exists").wait(TableName=self.table, WaiterConfig={"Delay": 1})
        if made:
            self._switch_on()

    def _switch_on(self) -> None:
        """Let items expire. Who may make tables need not be one who may do that: publishes clean up then."""
        wanted = {"Enabled": True, "AttributeName": EXPIRES}
        try:
            self._client.update_time_to_live(TableName=self.table, TimeToLiveSpecification=wanted)
        except ClientError as error:
            if _code(error) not in _NO_ENTRY:
                raise

    def _expires(self) -> bool:
        """Whether DynamoDB deletes items that have expired."""
        found = self._client.describe_time_to_live(TableName=self.table)["TimeToLiveDescription"]
        on = found.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        return on and found.get("AttributeName") == EXPIRES

    @property
    def forgets(self) -> bool:
        """Whether ``expire`` does anything: the table's time to live is switched on, and we may know it."""
        with self._in_words():
            try:
                return self._expires()
            except ClientError as error:
                if _code(error) in _NO_ENTRY:
                    return False
                raise

    def expire(self, changes: Sequence[Change], at: int) -> None:
        """Let DynamoDB delete each name that still holds ``old``, some time after ``at`` (seconds since the epoch)."""
        with self._in_words():
            list(self._pool.map(lambda change: self._expire_one(change, at), changes))

    def _expire_one(self, change: Change, at: int) -> None:
        try:
            self._client.update_item(
                TableName=self.table,
                Key={"name": {"B": change.name}},
                UpdateExpression="SET #e = :at",
                ConditionExpression="#v = :old",
                ExpressionAttributeNames={"#v": "value", "#e": EXPIRES},
                ExpressionAttributeValues={":old": {"B": change.old}, ":at": {"N": str(at)}},
            )
        except ClientError as error:
            if _code(error) != _LOST:  # somebody wrote it anew: it is needed
                raise

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """A Scan of the whole table, for all of which DynamoDB charges: only what is seldom needed does it."""
        more: dict[str, Any] = {}
        while True:
            with self._in_words():
                try:
                    answer = self._client.scan(
                        TableName=self.table,
                        ProjectionExpression="#n",
                        ConsistentRead=True,
                        ExpressionAttributeNames={"#n": "name"},
                        **more,
                    )
                except ClientError as error:
                    if self._missing(error):
                        return
                    raise
            names = [name for item in answer["Items"] if (name := item["name"]["B"]).startswith(prefix)]
            if names:
                yield names
            if "LastEvaluatedKey" not in answer:
                return
            more["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def status(self) -> dict[str, Any]:
        """Kind, table, and what DynamoDB counted of it, which may be some hours old."""
        with self._in_words():
            found = self._client.describe_table(TableName=self.table)["Table"]
        return {
            "kind": self.kind,
            "at": f"{place(self._client.meta.endpoint_url)}/{self.table}",
            "version": "2012-08-10",
            "names": found.get("ItemCount", 0),
            "bytes": found.get("TableSizeBytes", 0),
        }

    def close(self) -> None:
        """Let threads and connections go; new ones come when they are needed."""
        self._pool.shutdown()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mlforge-dynamodb")
        self._client.close()

    async def aclose(self) -> None:
        """Let connections go."""
        self.close()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if _code(error) == "ValidationException":
                raise OnlineError(
                    f"DynamoDB refuses what is written or asked: {error}",
                    hint="a key may have 2,048 bytes, and a key's values 400 KB: a smaller max_points may help",
                ) from error
            if _code(error) in _NO_ENTRY:
                raise StoreRefusedError(self._said(error), hint=_WRONG) from error
            raise StoreDownError(self._said(error), hint=_SLOW if _code(error) in _BUSY else _WRONG) from error
        except BotoCoreError as error:
            raise StoreDownError(self._said(error), hint=_WRONG) from error

    def _said(self, error: Exception) -> str:
        remember(self._client.meta.endpoint_url)
        return f"DynamoDB does not answer as it should for table {self.table!r}: {error}"


_WRONG = "are region, credentials and table right? create: true makes the table"
_SLOW = "it throttles: a table that is new or provisioned needs time or capacity; what failed can be repeated"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
