"""A process that publishes a project whenever it gets a line, and answers each with one line. Arguments: the project's
folder, and the store's settings as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mlforge.errors import MlforgeError
from mlforge.online import open_store
from tests.online.served import Served


def main() -> None:
    served = Served(Path(sys.argv[1]), open_store(json.loads(sys.argv[2])))
    for _ in sys.stdin:
        print("begins", flush=True)
        try:
            done = served.publish(full=True, force=True)
            print(f"generation {done.generation}", flush=True)
        except MlforgeError as error:
            print(f"{error.code}: {error.message}", flush=True)


if __name__ == "__main__":
    main()
