"""Tables of any columns: what comes back is as it went in, within the schema, and what is seen is not touched."""

from __future__ import annotations

import math
import re
import string

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reparam as rp
from reparam.data import frames
from reparam.data.table import TableSchema
from reparam.errors import InputError, RunFolderError

QUICK = {"hidden": (8,), "latent_dim": 2, "train_k": 2, "epochs": 2, "k": 20}
slowly = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
names = st.text(string.ascii_letters + " _é%", min_size=1, max_size=6)


@st.composite
def columns(draw, rows: int):
    """One column of any kind and dtype, without holes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = 10.0 ** draw(st.integers(-12, 12))
    kind = draw(st.sampled_from([
        "real", "rounded", "positive", "proportion", "count", "text", "category", "ordered", "bool", "boolean", "date",
        "zone", "constant", "grade", "integer", "nullable", "float32", "string", "bimodal", "spike",
    ]))  # fmt: skip
    words = draw(st.lists(st.text(max_size=4), min_size=1, max_size=5, unique=True))
    codes = rng.integers(0, len(words), rows)
    stamps = pd.to_datetime("2001-01-01") + pd.to_timedelta(rng.integers(0, 9000, rows), unit="h")
    return {
        "real": lambda: pd.Series(size * (rng.normal(size=rows) + draw(st.integers(-50, 50)))),
        "rounded": lambda: pd.Series(np.round(rng.normal(size=rows) * 30, draw(st.integers(0, 3)))),
        "positive": lambda: pd.Series(size * np.exp(2 * rng.normal(size=rows))),
        "proportion": lambda: pd.Series(np.round(rng.random(rows), 2)),
        "count": lambda: pd.Series(rng.negative_binomial(1, 0.05, rows)),
        "text": lambda: pd.Series([words[c] for c in codes]),
        "category": lambda: pd.Series(pd.Categorical.from_codes(codes, words)),
        "ordered": lambda: pd.Series(pd.Categorical.from_codes(codes, words, ordered=True)),
        "bool": lambda: pd.Series(rng.random(rows) < 0.5),
        "boolean": lambda: pd.Series(rng.random(rows) < 0.5, dtype="boolean"),
        "date": lambda: pd.Series(stamps),
        "zone": lambda: pd.Series(stamps.tz_localize("Asia/Tokyo")),
        "constant": lambda: pd.Series([draw(st.sampled_from([1, 2.5, "x", True]))] * rows),
        "grade": lambda: pd.Series(rng.integers(1, 6, rows)),
        "integer": lambda: pd.Series(rng.integers(-(10**9), 10**9, rows)),
        "nullable": lambda: pd.Series(rng.integers(0, 1000, rows), dtype="Int32"),
        "float32": lambda: pd.Series(rng.normal(size=rows), dtype="float32"),
        "string": lambda: pd.Series([words[c] for c in codes], dtype="string"),
        "bimodal": lambda: pd.Series(size * (rng.choice([-5, 5], rows) + rng.normal(size=rows))),
        "spike": lambda: pd.Series(np.where(rng.random(rows) < 0.9, 0.0, size * rng.normal(size=rows))),
    }[kind]()


@st.composite
def tables(draw):
    rows = draw(st.integers(4, 60))
    labels = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    frame = pd.DataFrame({name: draw(columns(rows)) for name in labels})
    holes = draw(st.sampled_from([0.0, 0.3, 0.6]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for name in labels:
        if (frame[name].dtype != bool and not pd.api.types.is_integer_dtype(frame[name].dtype)) or frame[
            name
        ].dtype == "Int32":
            frame.loc[rng.random(rows) < holes, name] = None
    return frame


def schema_of(frame: pd.DataFrame) -> TableSchema | None:
    try:
        return TableSchema.of(frame)
    except InputError as error:
        return None if "no column to model" in str(error) else pytest.fail(str(error))


@slowly
@given(tables())
def test_a_table_becomes_numbers_and_comes_back_with_its_order_and_dtypes(frame):
    schema = schema_of(frame)
    if schema is None:
        return
    assert TableSchema.from_json(schema.to_json()) == schema
    x = schema.encode(frame)
    assert bool((np.isfinite(x) | np.isnan(x)).all())
    back = schema.decode(x)
    kept = [c.name for c in schema.columns if c.kind != "identifier"]
    assert list(back.columns) == kept
    whole = [c.name for c in schema.columns if c.modelled or (c.kind == "constant" and not c.missing)]
    pd.testing.assert_frame_equal(back[whole], frame[whole], rtol=1e-6 if "float32" in map(str, frame.dtypes) else 1e-9)
    for name in kept:
        assert back[name].dtype == frame[name].dtype


@slowly
@given(tables())
def test_models_of_any_table_score_fill_and_sample_within_its_schema(frame):
    schema = schema_of(frame)
    if schema is None or frame[[c.name for c in schema.modelled]].notna().any(axis=1).sum() < 2:
        return
    before = frame.copy(deep=True)
    model = rp.TabularVAE(**QUICK).fit(frame)
    scores = model.score_samples(frame)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(model.score_samples(frame.iloc[1:3]), scores[1:3], rtol=1e-5, atol=1e-4)
    for filled in (model.impute(frame), *model.impute(frame, m=2)):
        pd.testing.assert_frame_equal(frame, before)
        check_filled(schema, frame, filled)
    check_inside(schema, frame, model.sample(50))
    assert np.isfinite(model.transform(frame)).all()
    ranked = model.anomaly_columns(frame)
    assert np.isfinite(ranked["surprise"]).all()


def check_filled(schema, frame, filled):
    assert list(filled.columns) == list(frame.columns)
    for column in schema.columns:
        old, new = frame[column.name], filled[column.name]
        assert new.dtype == old.dtype
        pd.testing.assert_series_equal(new[old.notna()], old[old.notna()])
        if column.modelled:
            assert new.notna().all()
    check_inside(schema, frame, filled)


def check_inside(schema, frame, sampled):
    kept = [c for c in schema.columns if c.kind not in ("identifier", "group")]
    assert [c.name for c in kept if c.name in sampled] == [c.name for c in kept]
    for column in kept:
        values, seen = sampled[column.name].dropna(), frame[column.name].dropna()
        assert sampled[column.name].dtype == frame[column.name].dtype
        if column.coded or column.kind == "constant":
            known = frames.plain(sampled[[column.name]], column.name).values
            known = [v for v in known if v is not None and not (isinstance(v, float) and math.isnan(v))]
            assert set(known) <= set(column.categories)
        elif len(seen):
            assert values.min() >= seen.min()
            assert values.max() <= seen.max()
            if column.step and column.kind != "datetime":
                steps = values.astype("float64") / column.step
                assert (np.abs(steps - np.rint(steps)) < 1e-6 * np.maximum(1, np.abs(steps))).all()


def people(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Columns that tell of each other, with holes."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["F", "M"], n)
    age = rng.integers(18, 80, n)
    frame = pd.DataFrame({
        "person": [f"p{i}" for i in range(n)], "sex": sex, "age": age,
        "height": np.round(np.where(sex == "F", 166.0, 179.0) + rng.normal(size=n) * 6, 1),
        "income": np.round(np.exp(9 + age / 40 + rng.normal(size=n) * 0.3), 2),
        "site": rng.choice(["north", "south"], n, p=[0.8, 0.2]),
        "country": "FR", "joined": pd.to_datetime("2015-01-01") + pd.to_timedelta(rng.integers(0, 2000, n), unit="D"),
    })  # fmt: skip
    frame["city"] = np.where(rng.random(n) < 0.5, "Lyon", "Bonn")
    frame["land"] = np.where(frame["city"] == "Lyon", "FR", "DE")
    for name in ("sex", "height", "income", "joined"):
        frame.loc[rng.random(n) < 0.2, name] = None
    return frame


@pytest.fixture(scope="module")
def fitted() -> tuple[pd.DataFrame, rp.TabularVAE]:
    frame = people()
    return frame, rp.TabularVAE(
        3, hidden=(32,), epochs=500, lr=3e-3, train_k=5, k=200, group="site", combinations=[["city", "land"]]
    ).fit(frame)


def test_conditions_hold_and_tell_of_other_columns(fitted):
    _, model = fitted
    women, men = (model.sample(300, given={"sex": s, "age": (30, 40)}) for s in "FM")
    for drawn, sex in ((women, "F"), (men, "M")):
        assert (drawn["sex"] == sex).all()
        assert drawn["age"].between(30, 40).all()
        assert "person" not in drawn
        assert drawn.attrs["quality"]["ess"] > 100
    assert men["height"].mean() - women["height"].mean() > 7
    assert (women["country"] == "FR").all()


def test_only_combinations_that_were_seen_are_sampled(fitted):
    _, model = fitted
    drawn = model.sample(300)
    assert set(zip(drawn["city"], drawn["land"], strict=True)) == {("Lyon", "FR"), ("Bonn", "DE")}


def test_combinations_hold_whatever_is_asked_or_seen(fitted):
    """Conditions on a column of a combination, imputations beside a seen one, and decoded rows: none is a new pair."""
    frame, model = fitted
    known = {("Lyon", "FR"), ("Bonn", "DE")}

    def pairs(t):
        return set(zip(t["city"], t["land"], strict=True))

    assert pairs(model.sample(200, given={"city": "Lyon"})) == {("Lyon", "FR")}
    assert pairs(model.sample(200, given={"land": ["DE"], "age": (20, 60)})) == {("Bonn", "DE")}
    half = frame.assign(land=pd.Series([None] * len(frame), dtype="str"))
    for filled in (model.impute(half), *model.impute(half, m=3)):
        assert filled["land"].equals(frame["land"])
    both = half.assign(city=pd.Series([None] * len(frame), dtype="str"))
    for filled in (model.impute(both), *model.impute(both, m=3), model.reconstruct(both)):
        assert pairs(filled) <= known
    with pytest.raises(InputError, match="no combination of 'city' and 'land'"):
        model.sample(3, given={"city": "Lyon", "land": "DE"})


def test_conditions_on_combinations_are_weighed_by_their_own_law():
    """Two columns that are independent given z, of which the table has three of four pairs: p(b | a) is counted."""
    rows = [("u", "x")] * 200 + [("u", "y")] * 600 + [("v", "x")] * 200
    frame = pd.DataFrame(rows, columns=["a", "b"]).assign(noise=np.random.default_rng(0).normal(size=1000))
    model = rp.TabularVAE(1, hidden=(), epochs=30, train_k=1, combinations=[["a", "b"]]).fit(frame)
    quality = model.sample(1000, given={"a": "v"}, with_quality=True)[1]
    free = model.sample(20_000)
    share = (free["a"] == "v").mean()  # 5 standard errors of both
    assert abs(math.exp(quality.log_probability) - share) < 5 * math.sqrt(share / 20_000 + share / quality.candidates)


def test_codes_go_back_to_a_table(fitted):
    frame, model = fitted
    back = model.reconstruct(frame)
    assert list(back.columns) == [c for c in frame.columns if c != "person"]
    check_inside(model.schema_, frame, back.drop(columns="site"))
    codes = model.transform(frame)
    north = model.inverse_transform(codes, group="north")
    there = (frame["site"] == "north").to_numpy()
    pd.testing.assert_frame_equal(north[there].drop(columns="income"), back[there].drop(columns="income"), atol=1)
    assert not model.inverse_transform(codes, group="north", sample=True).equals(north)
    for bad in (codes[:, :1], codes[:0], codes * np.nan):
        with pytest.raises(InputError, match="codes are finite numbers"):
            model.inverse_transform(bad, group="north")
    with pytest.raises(InputError, match="say which of 'site'"):
        model.inverse_transform(codes)


def test_a_group_is_a_condition_with_its_own_shares(fitted):
    frame, model = fitted
    assert (model.sample(20, given={"site": "south"})["site"] == "south").all()
    share = (model.sample(1000)["site"] == "north").mean()
    assert abs(share - (frame["site"] == "north").mean()) < 5 * math.sqrt(0.16 / 1000)
    with pytest.raises(InputError, match="'site'"):
        model.score_samples(frame.assign(site="east"))


def test_equal_rows_are_not_imputed_alike(fitted):
    frame, model = fitted
    same = pd.concat([frame.iloc[[0]].assign(height=np.nan)] * 40, ignore_index=True)
    assert model.impute(same, m=1)[0]["height"].nunique() > 10
    assert model.impute(same)["height"].nunique() == 1


def test_grades_are_imputed_by_their_median_and_other_categories_by_the_most_probable():
    """Shares .4 .25 .35 in a column of its own: the mode is the first grade, the median the second."""
    values = np.repeat([1, 2, 3], [400, 250, 350]).astype(float)
    frame = pd.DataFrame({"grade": values, "noise": np.random.default_rng(0).normal(size=1000)})
    empty = pd.DataFrame({"grade": [np.nan], "noise": [0.0]})
    found = []
    for kind in ("ordinal", "categorical"):
        model = rp.TabularVAE(1, hidden=(), epochs=20, lr=1e-2, train_k=1, kinds={"grade": kind}).fit(frame)
        found.append(float(model.impute(empty)["grade"].iloc[0]))
    assert found == [2.0, 1.0]


def test_rare_conditions_are_said_to_be_rare(fitted):
    _, model = fitted
    with pytest.warns(UserWarning, match="rare for this model"):
        model.sample(2000, given={"height": 205.0, "income": 1000.0, "sex": "F", "age": 75})


def test_a_saved_model_gives_the_same_bits(fitted, tmp_path):
    frame, model = fitted
    model.save(tmp_path / "run")
    again = rp.TabularVAE.load(tmp_path / "run")
    np.testing.assert_array_equal(again.score_samples(frame), model.score_samples(frame))
    pd.testing.assert_frame_equal(again.impute(frame), model.impute(frame))
    pd.testing.assert_frame_equal(again.sample(9, given={"sex": "F"}), model.sample(9, given={"sex": "F"}))
    pd.testing.assert_frame_equal(again.anomaly_columns(frame), model.anomaly_columns(frame))
    text = (tmp_path / "run" / "schema.json").read_text()
    (tmp_path / "run" / "schema.json").write_text(text.replace('"positive"', '"rea1"'))
    with pytest.raises(RunFolderError, match="income"):
        rp.TabularVAE.load(tmp_path / "run")


def test_scores_are_per_unit_of_the_columns(fitted):
    """In centimetres a density is a tenth of that in millimetres: log 10 nats for each cell that is seen."""
    frame = people()[["height", "income"]].dropna()
    model = rp.TabularVAE(2, hidden=(16,), epochs=30, train_k=2, k=50)
    one, ten = (model.fit(f).score_samples(f) for f in (frame, frame * [10.0, 1.0]))
    np.testing.assert_allclose(one - ten, math.log(10), atol=1e-3)


@pytest.mark.thorough
def test_missingness_that_informs_is_modelled():
    """High values are missing half of the time: told so, the model fills in more than where it takes them as random."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=1500)
    y = x + 0.3 * rng.normal(size=1500)
    frame = pd.DataFrame({"x": x, "y": y})
    gone = rng.random(1500) < 1 / (1 + np.exp(-4 * y))
    frame.loc[gone, "y"] = np.nan
    frame.loc[rng.random(1500) < 0.5, "x"] = np.nan
    both = frame["x"].isna() & gone
    found = []
    for how in ("random", "informative"):
        model = rp.TabularVAE(2, hidden=(32,), epochs=100, train_k=5, k=100, missingness=how).fit(frame)
        found.append(model.impute(frame).loc[both, "y"].mean())
        assert list(model.sample(3).columns) == ["x", "y"]
    truth = y[both].mean()
    assert abs(found[1] - truth) < 0.5 * abs(found[0] - truth)


def test_polars_comes_back_as_polars(fitted):
    frame = people(120)
    table = pl.from_pandas(frame).with_columns(
        pl.col("city").cast(pl.Enum(["Bonn", "Lyon", "Rome"])), day=pl.date(2020, 1, 2)
    )
    model = rp.TabularVAE(2, hidden=(8,), epochs=2, train_k=2, k=20).fit(table)
    filled, drawn = model.impute(table), model.sample(5)
    assert filled.schema == table.schema
    assert drawn.schema == table.drop("person").schema
    for name in table.columns:
        seen = table[name].is_not_null()
        assert filled[name].filter(seen).equals(table[name].filter(seen))
        assert name == "person" or filled[name].null_count() == 0


def test_a_corrected_schema_is_used():
    frame = people(60)
    text = re.sub(r'("name": "age",.*?"high": )[0-9.]+', r"\g<1>50.0", TableSchema.of(frame).to_json(), flags=re.S)
    model = rp.TabularVAE(2, hidden=(8,), epochs=1, train_k=2, schema=TableSchema.from_json(text)).fit(frame)
    assert model.sample(300)["age"].max() <= 50
    kinds = rp.TabularVAE(2, hidden=(8,), epochs=1, train_k=2, kinds={"person": "categorical", "age": "ordinal"})
    assert {c.name: c.kind for c in kinds.fit(frame).schema_.columns}["person"] == "categorical"


REFUSED = {
    "unseen": (lambda f: f.assign(sex="X"), "column 'sex', row 0 is 'X', which training never saw"),
    "column": (lambda f: f.drop(columns="age"), "no column 'age'"),
    "type": (lambda f: f.assign(age="many"), "column 'age', row 0 is 'many', not a number"),
    "dates": (lambda f: f.assign(height=f["joined"]), "column 'height' holds dates"),
    "infinite": (lambda f: f.assign(height=np.inf), "column 'height', row 0 is infinite"),
    "twice": (lambda f: pd.concat([f, f[["age"]]], axis=1), "two columns named 'age'"),
    "support": (lambda f: f.assign(income=-1.0), "column 'income', row 0 is -1"),
    "rows": (lambda f: f.head(0), "no rows"),
    "mixed": (lambda f: f.assign(age=pd.Series([1, "a"] * 200, dtype=object)), "values of several types"),
    "number": (lambda f: f.to_numpy(), "DataFrame of pandas or polars, not ndarray"),
    "name": (lambda f: f.rename(columns={"age": 7}), "a column named 7"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(fitted, change, words):
    frame, model = fitted
    with pytest.raises(InputError) as error:
        model.score_samples(change(frame))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (people(1), "no column to model|at least 2 rows"),
        (pd.DataFrame({"a": [1.0, np.inf, 2.0]}), "column 'a', row 1 is infinite"),
        (pd.DataFrame({"a": [1, 1, 1]}), "no column to model"),
        (pd.DataFrame({"a": [np.nan] * 3}), "no column to model"),
        (pd.DataFrame({"a": []}), "no rows"),
        (pd.DataFrame([[1, 2], [2, 1]], columns=["a", "a"]), "two columns named 'a'"),
        (pd.DataFrame({"a": [1j, 2j]}), "column 'a' holds complex128"),
        (pd.DataFrame({"a": [[1], [2]]}), "column 'a' holds"),
        (pd.DataFrame({"a": pd.to_timedelta([1, 2], unit="s")}), "column 'a' holds timedelta"),
    ],
)
def test_tables_that_no_model_is_of_are_refused(frame, words):
    with pytest.raises(InputError, match=words):
        rp.TabularVAE(**QUICK).fit(frame)


def test_rows_and_columns_that_are_all_missing_are_no_trouble():
    frame = people(80).assign(nothing=np.nan)
    frame.loc[5:9] = None
    model = rp.TabularVAE(**QUICK).fit(frame)
    filled = model.impute(frame)
    assert filled["nothing"].isna().all()
    assert filled.loc[5:9, "height"].notna().all()
    np.testing.assert_allclose(model.score_samples(frame)[5:9], 0.0, atol=0.5)


def test_unseen_categories_are_missing_where_asked():
    frame = people(80)
    model = rp.TabularVAE(**QUICK, unseen="missing").fit(frame)
    strange, holes = frame.assign(sex="X"), frame.assign(sex=pd.Series([None] * 80, dtype="str"))
    np.testing.assert_array_equal(model.score_samples(strange), model.score_samples(holes))
    assert (model.impute(strange)["sex"] == "X").all()


ASKED = [
    ({"sx": "F"}, "no column 'sx'"), ({"sex": "X"}, "never saw"), ({"age": (40, 30)}, "no value lies between"),
    ({"person": "p1"}, "identifier"), ({"sex": ("F", "M")}, "ordered values"), ({"age": "old"}, "no number"),
    ({"joined": "soon"}, "no date"), ({"age": [1, 2]}, "give one value"), ({"age": None}, "missing value"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "words"), ASKED, ids=[str(a) for a, _ in ASKED])
def test_conditions_that_cannot_be_are_refused(fitted, asked, words):
    with pytest.raises(InputError, match=words):
        fitted[1].sample(3, given=asked)


def test_wrong_parameters_are_refused():
    for params in ({"missingness": "maybe"}, {"unseen": "guess"}, {"k": 0}, {"kinds": {"a": "odd"}}):
        with pytest.raises(InputError):
            rp.TabularVAE(**params).fit(people(30))
    with pytest.raises(InputError, match="not fitted"):
        rp.TabularVAE().sample(3)
    with pytest.raises(InputError, match="no parameter"):
        rp.TabularVAE().set_params(latent=3)


def test_the_estimator_clones_as_scikit_learn_asks():
    from sklearn.base import clone

    model = rp.TabularVAE(3, group="site")
    again = clone(model)
    assert again is not model
    assert again.get_params() == model.get_params()
