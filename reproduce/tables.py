"""python -m reproduce.tables DATA [--only NAME] [--seed N]: TabularVAE beside other methods, for docs/tables.md.

DATA holds hivae/Adult and hivae/Wine (data, types and masks of missing cells).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import reparam as rp

RESULTS, PAGE = Path(__file__).parent / "results", Path(__file__).parent.parent / "docs" / "tables.md"
_DONORS = 4000  # rows that nearest neighbours choose from
Result = dict[str, Any]  # title, text, columns, rows


def breast(data: Path, seed: int) -> Result:
    """Half of the cells of breast_cancer removed at random: mean squared error on standardised data."""
    x = load_breast_cancer().data
    z = (x - x.mean(0)) / x.std(0)
    found: dict[str, list[float]] = {}
    for each in range(seed + 1, seed + 4):
        holes = np.random.default_rng(each).random(z.shape) < 0.5
        seen = np.where(holes, np.nan, z)
        for name, filled in _numeric(seen, 569):
            found.setdefault(name, []).append(float(((filled - z)[holes] ** 2).mean()))
        frame = pd.DataFrame(seen, columns=[f"x{i}" for i in range(30)])
        model = rp.TabularVAE(k=10_000, random_state=each, kinds=dict.fromkeys(frame, "real")).fit(frame)
        filled = model.impute(frame).to_numpy()
        found.setdefault("TabularVAE, K = 10,000", []).append(float(((filled - z)[holes] ** 2).mean()))
    rows = [[n, f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}"] for n, v in found.items()]
    return {
        "title": "breast_cancer, half of the cells removed at random",
        "text": "569 rows, 30 columns, standardised by the whole data; each method sees the holes alone and fills in the "
        f"same cells. Mean squared error over the removed cells, mean ± deviation over masks {seed + 1} to {seed + 3}; "
        "sizes and epochs were chosen on another mask (0). TabularVAE has its defaults. Published for MIWAE with K = 20 in training and 10,000 "
        "samples at test (Mattei & Frellsen 2019): 0.29. `TabularVAE(k=10_000)`.",
        "columns": ["method", "mean squared error"],
        "rows": rows,
    }


def _numeric(seen: np.ndarray, donors: int) -> Iterator[tuple[str, np.ndarray]]:
    yield "mean", SimpleImputer().fit_transform(seen)
    chosen = np.random.default_rng(0).permutation(len(seen))[:donors]
    yield "KNNImputer", KNNImputer().fit(seen[chosen]).transform(seen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge to be compared
        yield "IterativeImputer", IterativeImputer(max_iter=20, random_state=0).fit_transform(seen)


def hivae(data: Path, seed: int, name: str, share: int) -> Result:
    """A table of mixed types with the masks of missing cells that came with it."""
    frame, types = _hivae(data / "hivae" / name)
    mask = np.zeros(frame.shape, dtype=bool)
    with gzip.open(data / "hivae" / name / f"Missing{share}_1.csv.gz") as file:
        pairs = np.loadtxt(file, delimiter=",", dtype=int)
    mask[pairs[:, 0] - 1, pairs[:, 1] - 1] = True
    mask &= frame.notna().to_numpy()  # some cells were never known
    seen = frame.mask(mask)
    kinds = {c: {"cat": "categorical", "ordinal": "ordinal", "count": "real"}.get(t) for c, t in types.items()}
    kinds = {c: k for c, k in kinds.items() if k is not None and frame[c].nunique() > 2}
    model = rp.TabularVAE(random_state=seed, kinds=kinds, k=200, validation=0.05, **_sizes(len(frame))).fit(seen)
    filled = {"TabularVAE, K = 200": model.impute(seen)} | _mixed(seen, types)
    rows = []
    for method in ("mean and mode", "KNNImputer", "IterativeImputer", "TabularVAE, K = 200"):
        errors = _errors(frame, filled[method], mask, types)
        rows.append(
            [method, *(f"{errors[k]:.3f}" if k in errors else "-" for k in ("numbers", "ordinal", "categories"))]
        )
    return {
        "title": f"{name}, {share}% of the cells missing (mask 1)",
        "text": f"{len(frame)} rows, {len(types)} columns. Numbers: root mean squared error over the range of the column; ordinal: "
        "mean distance of grades over their number; categories: share of wrong ones; each a mean over columns. "
        f"KNNImputer and IterativeImputer read standardised numbers and one-hot categories less the first; the former has {_DONORS} donors. "
        f"`TabularVAE({', '.join(f'{k}={v}' for k, v in _sizes(len(frame)).items())}, validation=0.05, k=200)`.",
        "columns": ["method", "numbers", "ordinal", "categories"],
        "rows": rows,
    }


def _sizes(rows: int) -> dict[str, Any]:
    return {"epochs": max(12, 600_000 // rows), "batch_size": 128, "train_k": 10}


def _hivae(folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    with (folder / "data_types.csv").open() as file:
        types = [row["type"] for row in csv.DictReader(file)]
    frame = pd.read_csv(folder / "data.csv.gz", header=None)
    frame.columns = [f"x{i + 1}" for i in range(len(types))]
    return frame, dict(zip(frame.columns, types, strict=True))


def _mixed(seen: pd.DataFrame, types: dict[str, str]) -> dict[str, pd.DataFrame]:
    """Methods for numbers on one-hot categories less the first; the largest of all is the category."""
    numbers = [c for c, t in types.items() if t != "cat"]
    loc, spread = seen[numbers].mean(), seen[numbers].std()
    parts = {
        c: pd.get_dummies(seen[c], dtype=float).where(np.outer(seen[c].notna(), np.ones(seen[c].nunique(), bool)))
        for c in types
        if c not in numbers
    }
    wide = np.concatenate(
        [((seen[numbers] - loc) / spread).to_numpy(), *(p.to_numpy()[:, 1:] for p in parts.values())], 1
    )
    found = {}
    for method, filled in _numeric(wide, _DONORS):
        out = seen.copy()
        out[numbers] = filled[:, : len(numbers)] * spread.to_numpy() + loc.to_numpy()
        at = len(numbers)
        for c, part in parts.items():
            rest = filled[:, at : at + part.shape[1] - 1]
            best = np.concatenate([1 - rest.sum(1, keepdims=True), rest], 1).argmax(1)
            out[c] = seen[c].fillna(pd.Series(part.columns.to_numpy()[best], index=seen.index))
            at += part.shape[1] - 1
        found["mean and mode" if method == "mean" else method] = out
    return found


def _errors(true: pd.DataFrame, filled: pd.DataFrame, mask: np.ndarray, types: dict[str, str]) -> dict[str, float]:
    each: dict[str, list[float]] = {}
    for i, (c, kind) in enumerate(types.items()):
        a, b = true[c].to_numpy(float)[mask[:, i]], filled[c].to_numpy(float)[mask[:, i]]
        if kind == "cat":
            each.setdefault("categories", []).append(float((a != b).mean()))
        elif kind == "ordinal":
            grades = np.clip(np.rint(b), true[c].min(), true[c].max())
            each.setdefault("ordinal", []).append(float(np.abs(a - grades).mean() / true[c].nunique()))
        else:
            error = np.sqrt(((a - b) ** 2).mean()) / float(true[c].max() - true[c].min())
            each.setdefault("numbers", []).append(float(error))
    return {kind: float(np.mean(v)) for kind, v in each.items()}


def synthesis(data: Path, seed: int) -> Result:
    """Adult: what is learned from synthetic rows, how near they are to the real ones, and to single ones."""
    frame, types = _hivae(data / "hivae" / "Adult")
    frame = frame.dropna(ignore_index=True)
    order = np.random.default_rng(seed).permutation(len(frame))
    train, test = (frame.iloc[o].reset_index(drop=True) for o in (order[:16000], order[16000:]))
    kinds = {c: "categorical" if t == "cat" else "ordinal" for c, t in types.items() if t in ("cat", "ordinal")}
    model = rp.TabularVAE(random_state=seed, kinds={c: k for c, k in kinds.items() if frame[c].nunique() > 2},
                          validation=0.05, **_sizes(len(train))).fit(train)  # fmt: skip
    rng = np.random.default_rng(seed)
    apart = pd.DataFrame({c: rng.permutation(train[c].to_numpy()) for c in train})
    sources = {"real rows": train, "TabularVAE": model.sample(len(train)), "independent marginals": apart}
    rows = []
    for name, table in sources.items():
        aucs = [_auc(table, test, *target) for target in (("x9", 1), ("x5", 1), ("x4", 13))]
        closest, share = (
            _closest(table.head(5000), train.head(5000), test.head(5000)) if name != "real rows" else (0, 0)
        )
        rows.append([
            name, *(f"{a:.3f}" for a in aucs), f"{_marginals(table, test):.3f}", f"{_correlations(table, test, types):.3f}",
            "-" if name == "real rows" else f"{closest:.2f}", "-" if name == "real rows" else f"{share:.1%}",
        ])  # fmt: skip
    return {
        "title": "Adult, synthetic rows in place of real ones",
        "text": f"16,000 rows to train on, {len(test)} to test, all without missing cells. A classifier (gradient boosting) is trained on the rows of each "
        "source and tested on real ones: the area under its curve for sex, for being married (x5 = 1) and for at least "
        "13 years of education. Marginals: mean distance of distribution functions (numbers) or total variation "
        "(categories) from the test rows. Correlations: mean absolute difference over pairs of columns, of ranks for "
        "numbers. Closest: median distance to the nearest training row over that of test rows (1: no nearer to "
        "training rows than others are); nearer: share of rows that are nearer to a training than to a test row "
        "(50%: no copying). The income of the usual Adult task is not in this copy of the data.",
        "columns": ["trained on", "sex", "married", "education", "marginals", "correlations", "closest", "nearer"],
        "rows": rows,
    }


def _auc(train: pd.DataFrame, test: pd.DataFrame, target: str, least: int) -> float:
    """One class of a binary or categorical target, or at least so many years."""
    label = lambda t: (t[target] >= least) if least > 1 else (t[target] == least)  # noqa: E731
    drop = [target, "x6" if target == "x5" else target] if target != "x5" else ["x5", "x7"]
    model = HistGradientBoostingClassifier(random_state=0).fit(train.drop(columns=drop), label(train))
    return float(roc_auc_score(label(test), model.predict_proba(test.drop(columns=drop))[:, 1]))


def _marginals(table: pd.DataFrame, test: pd.DataFrame) -> float:
    found = []
    for c in test:
        values = np.unique(np.concatenate([table[c], test[c]]))
        if len(values) <= 20:
            found.append(0.5 * sum(abs((table[c] == v).mean() - (test[c] == v).mean()) for v in values))
        else:
            cdf = [np.searchsorted(np.sort(t[c]), values, side="right") / len(t) for t in (table, test)]
            found.append(float(np.abs(cdf[0] - cdf[1]).max()))
    return float(np.mean(found))


def _correlations(table: pd.DataFrame, test: pd.DataFrame, types: dict[str, str]) -> float:
    def matrix(t: pd.DataFrame) -> np.ndarray:
        wide = [t[c].rank() if k != "cat" else pd.get_dummies(t[c].astype(pd.CategoricalDtype(sorted(test[c].unique()))),
                dtype=float).add_prefix(c) for c, k in types.items()]  # fmt: skip
        return np.nan_to_num(np.corrcoef(pd.concat(wide, axis=1).to_numpy().T))

    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.abs(matrix(table) - matrix(test)).mean())


def _closest(table: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame) -> tuple[float, float]:
    loc, spread = train.mean(), train.std()
    own, real, held = (((t - loc) / spread).to_numpy() for t in (table, train, test))
    to_train = NearestNeighbors(n_neighbors=1).fit(real)
    near = to_train.kneighbors(own)[0][:, 0]
    far = NearestNeighbors(n_neighbors=1).fit(held).kneighbors(own)[0][:, 0]
    usual = to_train.kneighbors(held)[0][:, 0]
    return float(np.median(near) / np.median(usual)), float((near < far).mean())


def anomalies(data: Path, seed: int) -> Result:
    """Rows of a class that training did not have, among held-out rows of those that it had."""
    rows = []
    for name, load, normal in (
        ("breast_cancer: malignant", load_breast_cancer, (1,)),
        ("wine: class 2", load_wine, (0, 1)),
    ):
        bunch, found = load(), dict[str, list[float]]()
        names = [str(c) for c in bunch.feature_names]
        for each in range(seed, seed + 5):
            usual = np.random.default_rng(each).permutation(np.flatnonzero(np.isin(bunch.target, normal)))
            half = len(usual) // 2
            odd = np.flatnonzero(~np.isin(bunch.target, normal))
            train = pd.DataFrame(bunch.data[usual[:half]], columns=names)
            test = pd.DataFrame(bunch.data[np.r_[usual[half:], odd]], columns=names)
            label = np.r_[np.zeros(len(usual) - half), np.ones(len(odd))]
            forest = IsolationForest(random_state=each).fit(train)
            model = rp.TabularVAE(random_state=each, k=200).fit(train)
            for method, score in (
                ("IsolationForest", -forest.score_samples(test)),
                ("TabularVAE", model.anomaly_score(test)),
            ):
                found.setdefault(method, []).append(float(roc_auc_score(label, score)))
        rows.append([name, *(f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for v in found.values())])
    return {
        "title": "Anomalies",
        "text": "Trained on half of the usual rows; the other half and all of the odd class are scored by "
        "`anomaly_score`, minus log p. Area under the curve, mean ± deviation over five halves; "
        "`TabularVAE(k=200)`.",
        "columns": ["odd class", "IsolationForest", "TabularVAE"],
        "rows": rows,
    }


EXPERIMENTS: dict[str, Callable[[Path, int], Result]] = {
    "breast": breast,
    "wine20": lambda data, seed: hivae(data, seed, "Wine", 20),
    "wine50": lambda data, seed: hivae(data, seed, "Wine", 50),
    "adult20": lambda data, seed: hivae(data, seed, "Adult", 20),
    "adult50": lambda data, seed: hivae(data, seed, "Adult", 50),
    "synthesis": synthesis,
    "anomalies": anomalies,
}
_HEAD = """# Tables

From a table of mixed columns with holes to one density of all of them: rows are scored, holes filled in, rows drawn under
conditions, and odd cells found.

```python
import numpy as np, pandas as pd, reparam as rp

rng = np.random.default_rng(0)  # a table to try it on; yours has its own columns
df = pd.DataFrame(
    {
        "sex": rng.choice(["F", "M"], 500),
        "age": rng.integers(18, 80, 500).astype(float),
        "city": rng.choice(["Lyon", "Bonn", "Turin"], 500),
        "income": rng.lognormal(7, 0.5, 500),
    }
)
df = df.mask(rng.random(df.shape) < 0.1)  # one cell in ten is missing

model = rp.TabularVAE(epochs=40).fit(df)  # pandas or polars: numbers, text, dates, true and false, holes
model.score_samples(df)  # log p of what is seen of each row, nats per unit of the columns
model.impute(df)
model.impute(df, m=20)  # means, medians of grades, likeliest categories; multiple imputations
model.impute_intervals(df)  # each missing cell with its interval or probability
model.sample(100, given={"sex": "F", "age": (30, 40), "city": ["Lyon", "Bonn"]})
model.anomaly_score(df)
model.anomaly_columns(df)  # minus log p; the columns that make a row unusual, ranked
z = model.transform(df)
model.inverse_transform(z)
model.reconstruct(df)  # from codes, and through them: means, medians of grades, likeliest categories
model.save("run")
rp.TabularVAE.load("run")
```

On the command line: `reparam schema TABLE`, `train`, `score`, `encode`, `decode`, `reconstruct`, `impute`,
`sample --given sex=F,age=30..40`.

Of fewer than 2000 rows none are held out unless `validation` is given, and training ends after 2000 steps or 400 passes.
On breast_cancer with half of its cells missing, log p of other rows (5000 samples) was best after 300 passes and 0.1 nats
lower after 400, where imputation was best; with the tenth of the rows held out that used to be the default, training stopped
after some 200, since a bound of few samples falls with the encoder long before the model does.

What is assumed. Cells are missing at random given what is seen of their row, unless `missingness="informative"`, which
models the holes too. Bounds are those of the data, for samples and imputations alone: the density is not cut off there.
A proportion or a positive column whose values reach the end of their support is taken to be known to half of its rounding
step. Every log density of a real column has a floor of a thousandth of a standard deviation, or of the rounding, so that
repeated values have no infinite density. A sample under conditions says how many independent draws its weights are worth.
Correct what was inferred by `model.schema_.to_json()`, or `reparam schema TABLE --out schema.json` and
`train --schema schema.json`.

Tables are read some rows at a time, and imputation keeps the filled cells alone: `pytest -m slow
tests/test_tabular_memory.py` measures the most memory held over 2 million rows, and asks for less than three times that of
the table, itself included. Parquet files of more than 50 million cells are read by row groups and trained on from disk: `fit_parquet`
on 3.6 million rows (330 MiB) held 190 MiB of its own.

## Numbers

Beside other methods on public tables, repeated by one command:

<!-- not run: an hour, on data outside the repository -->
```shell
python -m reproduce.tables DATA            # all of them; --only NAME runs one
```

DATA is a folder with `hivae/Adult` and `hivae/Wine`, the tables of Nazabal et al. (2020) with their masks; the others come
with scikit-learn. Times are of one thread on a machine shared with other work. This page is written by the command from the
files in `reproduce/results`.
"""


def page() -> str:
    """docs/tables.md."""
    parts = [_HEAD]
    for name in EXPERIMENTS:
        path = RESULTS / f"table-{name}.json"
        if not path.exists():
            continue
        r = json.loads(path.read_text())
        lines = [r["columns"], ["---"] * len(r["columns"]), *r["rows"]]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(
            f"\n## {r['title']}\n\n{r['text']}\n\n{table}\n\n"
            f"`python -m reproduce.tables DATA --only {name} --seed {r['seed']}`: {r['seconds']:.0f} s, {r['date']}, "
            f"{r['versions']}.\n"
        )
    return "".join(parts)


def main() -> None:
    """Run what is asked for, keep its record, and write the page from all records."""
    parser = argparse.ArgumentParser(prog="python -m reproduce.tables", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with hivae/")
    parser.add_argument("--only", choices=EXPERIMENTS, help="one experiment; all of them unless given")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in [options.only] if options.only else EXPERIMENTS:
        started = time.monotonic()
        result = EXPERIMENTS[name](options.data, options.seed)
        result |= {
            "seed": options.seed, "seconds": time.monotonic() - started,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "versions": f"reparam {rp.__version__}, torch {torch.__version__}, scikit-learn {sklearn.__version__}, "
            f"{platform.machine()}",
        }  # fmt: skip
        (RESULTS / f"table-{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        for row in result["rows"]:
            print(name, *row, flush=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
