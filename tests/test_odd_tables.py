"""Files of tables as people have them: each is read for what it is, or refused in one line."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

import reparam as rp
from reparam.cli.main import main
from reparam.data.frame_files import read_frame
from reparam.data.table import TableSchema

NUMBERS = [f"{v:.3f}" for v in np.random.default_rng(0).normal(size=60)]
COUNTS = [str(v) for v in np.random.default_rng(1).negative_binomial(1, 0.2, 60)]


def lines(head: str, *columns: list[str], between: str = ",") -> str:
    rows = zip(*(itertools.islice(itertools.cycle(c), 60) for c in columns), strict=True)
    return "\n".join([head, *(between.join(row) for row in rows)]) + "\n"


PLAIN = lines("a,b", NUMBERS, ["x", "y", "z"])
READ = {
    "bom": (("\ufeff" + PLAIN), {"a": "real", "b": "categorical"}),
    "semicolons": (PLAIN.replace(",", ";"), {"a": "real", "b": "categorical"}),
    "decimal commas": (PLAIN.replace(",", ";").replace(".", ","), {"a": "real", "b": "categorical"}),
    "spaces": (lines("a , b", NUMBERS, [" x", " y"]), {"a": "real", "b": "binary"}),
    "quotes and lines": (lines("a,b", NUMBERS, ['"say ""x"",\nplease"', "y"]), {"a": "real", "b": "binary"}),
    "true and false with holes": (lines("a,b", NUMBERS, ["True", "", "False"]), {"a": "real", "b": "boolean"}),
    "dates before 1970": (lines("a,b", NUMBERS, ["1815-06-18", "1969-12-31", "0001-01-01"]), {"b": "datetime"}),
    "American dates": (lines("a,b", NUMBERS, ["5/31/2024", "1/2/1999", "12/25/2020"]), {"b": "datetime"}),
    "European dates": (lines("a,b", NUMBERS, ["31.5.2024", "1.2.1999", "25.12.2020"]), {"b": "datetime"}),
    "days or months": (lines("a,b", NUMBERS, ["5/3/2024", "1/2/1999", "12/2/2020"]), {"b": "categorical"}),
    "zones": (lines("a,b", NUMBERS, ["2024-05-31T10:00:00+02:00", "2024-12-31T10:00:00+01:00"]), {"b": "datetime"}),
    "numbers and words": (lines("a,b", NUMBERS, ["3", "x", "7.5", "y"]), {"b": "categorical"}),
    "long text": (lines("a,b", NUMBERS, ["p" * 100_000, "q" * 90_000]), {"b": "binary"}),
    "constants": (lines("a,b,c", NUMBERS, ["k"], ["1"]), {"a": "real", "b": "constant", "c": "constant"}),
    "negative counts": (lines("a,b", NUMBERS, ["-3", *COUNTS]), {"b": "real"}),
    "far numbers": (lines("a,b", NUMBERS, ["1e300", "-2e300", "7e299", *NUMBERS]), {"b": "real"}),
    "rows and columns of holes": (lines("a,b,c", [*NUMBERS[:9], ""], [""], ["x", "y"]), {"b": "constant"}),
    "two rows": ("a,b\n1.5,x\n2.5,y\n", {"a": "binary", "b": "binary"}),
    "numbers of rows": (
        lines(",a,b", [str(i) for i in range(60)], NUMBERS, ["x", "y"]), {"Unnamed: 0": "identifier", "a": "real"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "kinds"), READ.values(), ids=READ)
def test_a_file_is_taken_for_what_it_is_and_trains(text, kinds, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8", newline="")
    frame = read_frame(path)
    schema = TableSchema.of(frame)
    assert {name: schema[name].kind for name in kinds} == kinds
    assert len(schema.words().splitlines()) == len(schema.columns)
    assert max(map(len, schema.words().splitlines())) < 500
    model = rp.TabularVAE(1, hidden=(4,), epochs=1, train_k=1, k=5).fit(frame)
    assert np.isfinite(model.score_samples(frame)).all()
    assert len(model.sample(3)) == 3
    whole = model.impute(frame)
    seen = frame.notna()
    pd.testing.assert_frame_equal(whole.astype(object).where(seen, None), frame.astype(object).where(seen, None))


REFUSED = {
    "empty": ("", "is empty"),
    "a head": ("a,b\n", "has no rows"),
    "one row": ("a,b\n1.5,x\n", "no column to model"),
    "twice": ("a,a\n1,2\n2,3\n", "two columns named 'a'"),
    "twice but for spaces": ("a,a \n1,2\n2,3\n", "differ in spaces alone"),
    "ragged": ("a,b\n1,x\n2,y,z\n", "cannot be read"),
    "infinite": (lines("a,b", ["inf", *NUMBERS], ["x", "y"]), "column 'a', row 0 is infinite"),
    "latin": ("a,b\n1,Z\udcfcrich\n2,y\n", "save it in UTF-8"),
    "nothing but holes": ("a,b\n,\n,\n", "no column to model"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_no_model_is_of_is_refused_in_one_line(text, words, tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    assert main(["train", str(path), "--table", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_columns_that_are_wholly_missing_are_filled_in_the_dtypes_of_the_table():
    """Of rows to impute such a column is read as numbers, whatever the table held there."""
    rng, n = np.random.default_rng(0), 60
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    table = pd.DataFrame({"age": rng.normal(50, 9, n), "city": rng.choice(["Lyon", "Bonn"], n), "since": days})
    holes = pd.DataFrame({"age": [40.0], "city": [np.nan], "since": [np.nan]})
    filled = rp.TabularVAE(2, epochs=1).fit(table).impute(holes)
    assert filled["city"][0] in ("Lyon", "Bonn")
    assert filled["since"].dtype == table["since"].dtype
