"""Measure speed, size and memory on this machine, and write benchmarks/latest.json. Each row has a limit from the same run.

A row: {"value": median, "unit", "limit", "ratio": value / limit, "spread": [least, most]}. Rows of models have further values.
Examples: python -m benchmarks; python -m benchmarks --only record
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import data, memory, models, person
from genie_tf.cli import run
from genie_tf.errors import UserError
from genie_tf.files import write_json

ROWS: dict[str, Callable[[], dict]] = data.ROWS | models.ROWS | memory.ROWS | person.ROWS
MORE = {"tokens_per_second": "tokens/s", "gflops": "GFLOP/s", "p95_ms": "ms at the 95th percentile", "peak_megabytes": "MB at most"}
TARGET = Path(__file__).parent / "latest.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="ROW", help="measure one row and print it: " + ", ".join(ROWS))
    only = parser.parse_args().only
    if only and only not in ROWS:
        raise UserError(f"no row {only}: choose one of {', '.join(ROWS)}")
    results = {}
    print(f"{'row':22} {'value':>12} {'limit':>12} {'ratio':>6}  {'spread':24} unit")
    for name in [only] if only else ROWS:
        row = results[name] = ROWS[name]()
        spread = "{:,.6g} to {:,.6g}".format(*row["spread"])
        more = "".join(f"; {row[key]:,.4g} {words}" for key, words in MORE.items() if key in row)
        print(
            f"{name:22} {row['value']:12,.6g} {row['limit']:12,.6g} {row['ratio']:6.2f}  {spread:24} {row['unit']}{more}",
            flush=True,
        )
    if not only:
        write_json(TARGET, results)
        print(f"wrote {TARGET}")


if __name__ == "__main__":
    run(main)
