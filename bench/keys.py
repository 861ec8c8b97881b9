"""How the time of an operation grows with the number of keys on the token; `make bench-keys`.

Best times of some 25 rounds.
"""

from __future__ import annotations

import argparse
import time

from tests.support.daemon import running_evsd
from tests.support.many_keys import add_keys, measure, start_time


def main() -> None:
    """Print one table: few keys, many keys, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--many", type=int, default=10_000)
    options = parser.parse_args()
    with running_evsd() as evsd:
        evsd.prepare()
        results = []
        for count in (options.few, options.many - options.few):
            evsd.stop()
            began = time.perf_counter()
            ids = add_keys(evsd, count)
            print(f"{count} keys made in {time.perf_counter() - began:.1f} s", flush=True)
            starts = start_time(evsd, ids[-1])
            results.append((*starts, measure(evsd, ids)))
    print(f"\n| | {options.few} keys | {options.many} keys | ratio |\n|---|---|---|---|")
    few, many = results
    for name, unit, before, after in (
        ("evsd is ready", "s", few[0], many[0]),
        ("first data key after the start", "s", few[1], many[1]),
        ("list a page of 10", "ms", few[2].list_page, many[2].list_page),
        ("describe", "ms", few[2].describe, many[2].describe),
        ("create-datakey, first use of each key", "ms", few[2].create_datakey,
         many[2].create_datakey),
    ):  # fmt: skip
        scale = 1000 if unit == "ms" else 1
        cells = f"{before * scale:.2f} {unit} | {after * scale:.2f} {unit}"
        print(f"| {name} | {cells} | {after / before:.2f} |")


if __name__ == "__main__":
    main()
