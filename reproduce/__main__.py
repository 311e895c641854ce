"""python -m reproduce DATA [--only NAME] [--seed N]: run the experiments and write docs/reproductions.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from reproduce import aevb, bounds, digits, frey
from reproduce.record import Record, page

ROOT = Path(__file__).parent
EXPERIMENTS: dict[str, Callable[[Path, int], Record]] = {
    "frey_standard": partial(frey.run, prior="standard"),
    "frey_vamp": partial(frey.run, prior="vamp"),
    "iwae": digits.burda,
    "sphere": digits.sphere,
    "bounds": bounds.run,
    "aevb_bound": aevb.bound,
    "aevb_marginal": aevb.marginal,
    "aevb_full": aevb.full,
}


def main() -> None:
    """Run what is asked for, keep its record, and write the page from all records."""
    parser = argparse.ArgumentParser(prog="python -m reproduce", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with frey.npz and mnist/")
    parser.add_argument("--only", choices=EXPERIMENTS, help="one experiment; all of them unless given")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = ROOT / "results"
    for name in [options.only] if options.only else EXPERIMENTS:
        record = EXPERIMENTS[name](options.data, options.seed)
        record.save(results)
        record.draw(ROOT.parent / "docs" / "assets" / "reproductions")
        for figure in record.figures:
            print(f"{name}: {figure.what}: {figure.value} {figure.unit} (published {figure.published})", flush=True)
    order = list(EXPERIMENTS)
    records = sorted(map(Record.load, results.glob("*-seed*.json")), key=lambda r: (order.index(r.name), r.seed))
    (ROOT.parent / "docs" / "reproductions.md").write_text(page(records))


if __name__ == "__main__":
    main()
