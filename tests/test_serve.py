"""A model over HTTP: it answers what Python answers, to whom it may, in bounded memory, and refuses the rest."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import reparam as rp
from reparam import web
from reparam.cli.main import main
from reparam.data import read
from reparam.run import open_run
from reparam.serve import server
from reparam.serve.operations import DRAWS
from reparam.serve.wire import WrongFormError, numbers, read_npy, write_json
from serving import TOKEN, Serving, memory

JSON, NPY = "application/json", "application/x-npy"
RUNS = {
    "digits": "train digits --binarize dynamic --likelihood bernoulli --latent-dim 3 --hidden 16",
    "plain": "train plain.npy --latent-dim 2 --hidden 8 --likelihood gaussian",
    "conditional": "train d.npz --latent-dim 2 --hidden 8 --context kind,dose",
    "counts": "train counts.npy --latent-dim 2 --hidden 8 --likelihood poisson",
    "table": "train table.csv --latent-dim 2 --hidden 8",
    "grouped": "train table.csv --latent-dim 2 --hidden 8 --context city",
}


class Served(Serving):
    """A run that is served."""

    def __init__(self, folder: Path) -> None:
        self.run = open_run(folder)
        assert self.run.schema is not None
        super().__init__(server(self.run, self.run.schema, TOKEN, "127.0.0.1", folder.name))

    def post(self, what: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        told = {"Authorization": f"Bearer {TOKEN}", "Content_Type": JSON, **headers}
        found, answer = self.ask(f"/{what}", content, **told)
        assert found == status, answer
        if self.headers["Content-Type"] == NPY:
            return np.load(io.BytesIO(answer))
        made = json.loads(answer)
        if status != 200:
            assert set(made) == {"error"}
            assert 10 < len(made["error"]) < 400
            assert "Traceback" not in made["error"]
        return made

    def told(self, what: str) -> Any:
        status, answer = self.ask(f"/{what}", Authorization=f"Bearer {TOKEN}")
        assert status == 200
        return json.loads(answer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    rng, n = np.random.default_rng(0), 150
    digits = read("digits", None, [])
    np.savez(folder / "d.npz", x=digits.x[:300], kind=digits.labels[:300], dose=np.arange(300) / 100)
    np.save(folder / "counts.npy", rng.poisson(4, (n, 12)))
    np.save(folder / "plain.npy", rng.normal(size=(n, 4)).astype(np.float32))
    frame = pandas.DataFrame({
        "city": rng.choice(["Lyon", "Bonn", "Turin"], n), "age": rng.normal(50, 9, n).round(1),
        "smokes": rng.random(n) < 0.3, "income": rng.lognormal(7, 0.5, n), "visits": rng.poisson(2, n),
        "since": pandas.Timestamp("2020-01-01") + pandas.to_timedelta(rng.integers(0, 900, n), unit="D"),
        "code": [f"row {i}" for i in range(n)],
    })  # fmt: skip
    frame.loc[::9, "income"] = np.nan
    frame.to_csv(folder / "table.csv", index=False)
    return folder


def trained(folder: Path, name: str) -> Path:
    out = folder / name
    if not out.exists():
        words = [w if not (folder / w).is_file() else str(folder / w) for w in RUNS[name].split()]
        assert main([*words, "--epochs", "1", "--seed", "0", "--out", str(out)]) == 0
    return out


@contextlib.contextmanager
def serving(folder: Path, name: str) -> Iterator[Served]:
    with Served(trained(folder, name)) as served:
        yield served


@pytest.fixture(scope="module")
def digits(folder: Path) -> Iterator[Served]:
    with serving(folder, "digits") as served:
        yield served


@pytest.fixture(scope="module")
def table(folder: Path) -> Iterator[Served]:
    with serving(folder, "table") as served:
        yield served


IMAGES = np.asarray(read("digits", None, []).x[:6], dtype=np.uint8)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


# -- what it answers ---------------------------------------------------------------------------------------------------


def test_images_have_the_codes_scores_and_decodings_of_python(digits: Served) -> None:
    vae, schema = digits.run.vae, digits.run.schema
    assert schema is not None
    data = rp.Dataset(IMAGES, pixel_max=16, binarize="dynamic")
    found = digits.post("encode", {"x": IMAGES.tolist()})
    x = data.fixed(data.x, torch.empty(0), 0)
    with torch.no_grad():
        q = vae.posterior(x)
    assert np.allclose(found["mean"], q.mean, atol=1e-6)
    assert np.allclose(found["sd"], q.stddev, atol=1e-6)
    scored = digits.post("score?k=200&seed=3", {"x": IMAGES.tolist()})
    expected = rp.evaluate.log_likelihood(vae, data, 200, seed=3)
    assert np.allclose(scored["log_likelihood"], expected.per_datum, atol=1e-5)
    assert np.allclose(scored["ess"], expected.ess, rtol=1e-4)
    z = np.random.default_rng(0).normal(size=(4, 3))
    decoded = digits.post("decode", {"z": z.tolist()})["x"]
    with torch.no_grad():
        assert np.allclose(decoded, 16 * vae.decode(torch.tensor(z, dtype=torch.float32)), atol=1e-5)
    drawn = np.array(digits.post("decode?sample=true&seed=7", {"z": z.tolist()})["x"])
    assert set(np.unique(drawn)) == {0, 16}
    samples = np.array(digits.post("sample?n=5&seed=2")["x"])
    assert samples.shape == (5, 8, 8)
    assert samples.tolist() == digits.post("sample?n=5&seed=2", {})["x"]
    assert samples.tolist() != digits.post("sample?n=5&seed=3", {})["x"]


def test_npy_goes_in_and_comes_out_as_json_does(digits: Served) -> None:
    for what, key in (("encode", "mean"), ("score?k=50", "log_likelihood")):
        expected = np.array(digits.post(what, {"x": IMAGES.tolist()})[key])
        for array in (IMAGES, np.asfortranarray(IMAGES), IMAGES.astype(">f8")):
            assert np.allclose(digits.post(what, npy(array), Content_Type=NPY, Accept=NPY), expected, atol=1e-6)
        assert np.allclose(digits.post(what, npy(IMAGES), Content_Type=NPY)[key], expected, atol=1e-6)
    z = np.zeros((2, 3))
    found = digits.post("decode", npy(z), Content_Type=NPY, Accept=f"{JSON};q=0.5, {NPY}")
    assert found.dtype == np.float32
    assert np.allclose(found, digits.post("decode", {"z": z.tolist()})["x"], atol=1e-5)
    drawn = digits.post("sample?n=3", Accept=NPY)
    assert drawn.dtype == np.uint8
    assert drawn.tolist() == digits.post("sample?n=3")["x"]


def test_the_score_of_a_row_is_its_own(digits: Served, table: Served) -> None:
    """To rounding: a batch of another size may be multiplied in another order."""
    rows = [{"city": "Bonn", "age": 40}, {"income": 900.5, "smokes": True}, {"since": "2021-05-01", "visits": 2}]
    for served, x in ((digits, IMAGES.tolist()), (table, rows)):
        together = served.post("score?k=300", {"x": x})["log_likelihood"]
        alone = [served.post("score?k=300", {"x": [row]})["log_likelihood"][0] for row in x]
        again = served.post("score?k=300", {"x": x[::-1]})["log_likelihood"][::-1]
        assert np.allclose(together, alone, atol=1e-5, rtol=0)
        assert np.allclose(together, again, atol=1e-5, rtol=0)
        assert together == served.post("score?k=300", {"x": x})["log_likelihood"]


def test_rows_of_a_table_are_objects_with_null_for_holes(folder: Path, table: Served) -> None:
    model = rp.TabularVAE.load(folder / "table")
    frame = pandas.read_csv(folder / "table.csv", parse_dates=["since"]).head(20)
    rows = json.loads(frame.to_json(orient="records", date_format="iso"))
    found = table.post("score?k=200", {"x": rows})["log_likelihood"]
    assert np.allclose(found, model.log_likelihood(frame, 200).per_datum, atol=1e-4)
    assert np.allclose(table.post("encode", {"x": rows})["mean"], model.transform(frame), atol=1e-5)
    filled = table.post("impute?k=200", {"x": rows})["x"]
    expected = model.set_params(k=200).impute(frame)
    assert [r["income"] for r in filled] == pytest.approx(expected["income"].tolist(), rel=1e-4)
    assert [r["city"] for r in filled] == expected["city"].tolist()
    assert [r["since"][:10] for r in filled] == [str(t)[:10] for t in expected["since"]]
    assert filled[3]["code"] == "row 3"
    hole = [{"age": 40, "city": None}]
    assert table.post("impute", {"x": hole})["x"][0]["city"] in ("Lyon", "Bonn", "Turin")
    many = table.post("impute?m=4&k=50", {"x": hole})["imputations"]
    assert len(many) == 4
    assert all(t[0]["age"] == 40 and t[0]["visits"] is not None for t in many)
    assert table.post("score", {"x": [{}]})["log_likelihood"] == [0.0]


def test_tables_are_sampled_under_conditions_and_decoded(table: Served) -> None:
    given = {"city": ["Bonn", "Turin"], "age": {"low": 45}, "smokes": True, "since": {"high": "2022-01-01"}}
    found = table.post("sample?n=30", {"given": given})
    assert len(found["x"]) == 30
    assert 1 <= found["ess"] <= found["candidates"]
    for row in found["x"]:
        assert row["city"] in ("Bonn", "Turin")
        assert row["age"] >= 45
        assert row["smokes"] is True
        assert row["since"] <= "2022-01-01T00:00:00"
    z = np.random.default_rng(0).normal(size=(50, 2))
    best = table.post("decode", {"z": z.tolist()})["x"]
    vae = table.run.vae
    with torch.no_grad():
        cells = vae.likelihood(torch.tensor(z, dtype=torch.float32)).base
    assert table.run.schema is not None
    schema = table.run.schema.table
    assert schema is not None
    place = schema.places["city"]
    (part, j), *_ = [
        (p, c.tolist().index(place)) for p, c in zip(cells.parts, cells.columns, strict=True) if place in c
    ]
    assert [r["city"] for r in best] == [schema["city"].categories[k] for k in part.mode[:, j].long().tolist()]  # type: ignore[index]
    drawn = table.post("decode?sample=true", {"z": [[0.0, 0.0]] * 200})["x"]
    assert len({r["city"] for r in drawn}) > 1


def test_a_conditional_model_is_told_its_contexts(folder: Path) -> None:
    with serving(folder, "conditional") as served:
        context = {"kind": ["3", 4], "dose": [0.5, 1.5]}
        scored = served.post("score?k=50", {"x": IMAGES[:2].tolist(), "context": context})["log_likelihood"]
        schema = served.run.schema
        assert schema is not None
        c = torch.cat([schema.given("kind=3,dose=0.5", 1)[0], schema.given("kind=4,dose=1.5", 1)[0]])
        data = rp.Dataset(IMAGES[:2], contexts=[c], pixel_max=schema.pixel_max)
        expected = rp.evaluate.log_likelihood(served.run.vae, data, 50).per_datum
        assert np.allclose(scored, expected, atol=1e-4)
        given = {"given": {"kind": 3, "dose": 0.5}}
        found = served.post("decode", {"z": [[0, 0]], **given})["x"]
        with torch.no_grad():
            mean = served.run.vae.decode(torch.zeros(1, 2), *schema.given("kind=3,dose=0.5", 1))
        assert np.allclose(found, (schema.pixel_max or 1) * mean, rtol=1e-5)
        assert len(served.post("sample?n=3", given)["x"]) == 3
        for what, body, words in (
            ("sample", None, "lacks 'given'"), ("sample", {"given": {"kind": "3"}}, "lacks 'dose'"),
            ("score", {"x": IMAGES[:1].tolist()}, "lacks 'context'"),
            ("sample", {"given": {"kind": "3", "dose": "much"}}, "number"),
        ):  # fmt: skip
            assert words in served.post(what, body, 400)["error"]
        uneven = served.post("score", {"x": IMAGES[:1].tolist(), "context": context}, 422)["error"]
        assert "list of 1 values, one for each row: here are 2" in uneven
        far = served.post("decode", {"z": [[0, 0]], "given": {"kind": "3", "dose": -1e296}}, 422)["error"]
        assert "'dose' is -1e+296, far beyond training" in far
        unseen = served.post("sample", {"given": {"kind": "x", "dose": 1}}, 422)["error"]
        assert "never saw" in unseen
        assert NPY not in served.told("openapi.json")["paths"]["/score"]["post"]["requestBody"]["content"]


def test_a_group_is_a_column_of_its_rows(folder: Path) -> None:
    with serving(folder, "grouped") as served:
        assert len(served.post("score", {"x": [{"city": "Bonn", "age": 3}]})["log_likelihood"]) == 1
        assert served.post("decode", {"z": [[0, 0]], "given": {"city": "Bonn"}})["x"][0]["city"] == "Bonn"
        assert served.post("sample?n=2", {"given": {"city": "Lyon"}})["x"][1]["city"] == "Lyon"
        assert "city" in served.post("score", {"x": [{"age": 3}]}, 422)["error"]
        assert "given" in served.post("decode", {"z": [[0, 0]]}, 400)["error"]


def test_means_of_counts_are_no_whole_numbers_and_their_draws_are(folder: Path) -> None:
    with serving(folder, "counts") as served:
        mean = np.array(served.post("decode", {"z": [[0, 0]]})["x"])
        assert np.abs(mean - np.rint(mean)).max() > 0.01
        drawn = served.post("sample?n=4")["x"]
        assert all(type(v) is int for row in drawn for v in row)
        assert "restore the counts" in served.post("score", {"x": [[0.5] * 12]}, 422)["error"]
        assert np.isfinite(served.post("score", {"x": drawn})["log_likelihood"]).all()


def test_the_model_tells_of_itself(digits: Served, table: Served) -> None:
    told = digits.told("model")
    assert (told["name"], told["latent_dim"], told["shape"], told["pixel_max"]) == ("digits", 3, [8, 8], 16)
    assert told["operations"] == ["encode", "decode", "score", "sample"]
    assert "impute" in table.told("model")["operations"]
    assert any("age" in words for words in table.told("model")["columns"])


# -- whom it answers, and what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 401), ({"Authorization": TOKEN}, 401), ({"Authorization": f"Basic {TOKEN}"}, 401),
    ({"Authorization": f"Bearer {TOKEN}x"}, 401), ({"Authorization": "Bearer "}, 401),
    ({"Authorization": "Bearer \xe9"}, 401), ({"Authorization": f"bearer {TOKEN}"}, 200),
    ({"Authorization": f"Bearer {TOKEN}", "Host": "evil.example"}, 421),
    ({"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.example"}, 403),
    ({"Authorization": f"Bearer {TOKEN}", "Sec_Fetch_Site": "cross-site"}, 403),
])  # fmt: skip
def test_who_may_not_ask_is_refused(digits: Served, headers: dict[str, str], status: int) -> None:
    for path, body in (("/model", None), ("/sample", b""), ("/openapi.json", None)):
        found, answer = digits.ask(path, body, **headers)
        assert found == status
        assert TOKEN.encode() not in answer
        assert status == 200 or list(json.loads(answer)) == ["error"]
        assert digits.headers["X-Content-Type-Options"] == "nosniff"
    if status == 401:
        assert digits.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path", ["/", "/../../etc/passwd", "/score/", "//score", "/docs", "/..%2f..%2fetc%2fpasswd", "/impute"]
)
def test_other_paths_are_not_there(digits: Served, path: str) -> None:
    status, answer = digits.ask(path, Authorization=f"Bearer {TOKEN}")
    assert status == 404
    assert "/score" in json.loads(answer)["error"]


ROW = IMAGES[:1].tolist()
WRONG_OF_IMAGES: list[tuple[str, Any, int, str]] = [
    ("score", b"{nope", 400, "JSON"), ("score", b"[]", 400, "object"), ("score", b"", 400, "'x'"),
    ("score", b"[" * 100_000, 400, "JSON"), ("score", b'{"x": [[NaN]]}', 400, "NaN"),
    ("score", b"\xff\xfe", 400, "JSON"),
    ("score", {"x": []}, 400, "rows"), ("score", {"x": [[1, 2]]}, 400, "(8, 8)"), ("score", {"x": 3}, 400, "(8, 8)"),
    ("score", {"x": [[["a"] * 8] * 8]}, 400, "numbers"), ("score", {"x": [[[True] * 8] * 8]}, 400, "numbers"),
    ("score", {"x": [[[None] * 8] * 8]}, 400, "numbers"), ("score", {"x": [[[10**400] * 8] * 8]}, 400, "large"),
    ("score", b'{"x": [[' + b",".join([b"[" + b",".join([b"1e999"] * 8) + b"]"] * 8) + b"]]}", 400, "finite"),
    ("score", {"x": [[[17] * 8] * 8]}, 422, "17"), ("score", {"x": [[[-1] * 8] * 8]}, 422, "-1"),
    ("score", {"X": ROW}, 400, "known: x"), ("score", {"x": ROW, "context": {"a": [1]}}, 400, "context"),
    ("score?k=0", {"x": ROW}, 400, "k is"), ("score?k=1e3", {"x": ROW}, 400, "k is"),
    ("score?k=", {"x": ROW}, 400, "k is"),
    ("score?k=٣", {"x": ROW}, 400, "k is"), ("score?K=5", {"x": ROW}, 400, "known: k"),
    ("score?k=5&k=6", {"x": ROW}, 400, "twice"), ("score?seed=-1", {"x": ROW}, 400, "seed"),
    ("score?k=5000", {"x": ROW * (DRAWS // 5000 + 1)}, 400, "in parts"), ("sample?n=4097", {}, 400, "n is"),
    ("sample?mean=1", {}, 400, "true or false"), ("sample", {"given": {"a": 1}}, 400, "given"),
    ("decode", {"z": [[0, 0]]}, 400, "(3,)"), ("decode", {"z": [[1e300, 0, 0]]}, 422, "large"),
    ("encode", {"x": ROW * 4097}, 400, "in parts"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "body", "status", "words"), WRONG_OF_IMAGES, ids=range(len(WRONG_OF_IMAGES)))
def test_wrong_requests_are_refused_in_one_sentence(
    digits: Served, capfd, what: str, body: Any, status: int, words: str
) -> None:
    from urllib.parse import quote

    assert words in digits.post(quote(what, safe="?=&"), body, status)["error"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("body", "status", "words"), [
    ({"x": [[1, 2]]}, 400, "object"), ({"x": [{"Age": 3}]}, 400, "did you mean 'age'"),
    ({"x": [{"age": "3"}]}, 400, "a number"),
    ({"x": [{"age": True}]}, 400, "a number"), ({"x": [{"smokes": 1}]}, 400, "true or false"),
    ({"x": [{"city": 3}]}, 400, "text"), ({"x": [{"city": "bonn"}]}, 422, "did you mean 'Bonn'"),
    ({"x": [{"since": "yesterday"}]}, 400, "no date"), ({"x": [{"income": -3}]}, 422, "income"),
    ({"x": [{"visits": 1.5}]}, 422, "visits"), ({"x": [{"age": [3]}]}, 400, "a number"),
    ({"x": [{"age": 10**400}]}, 400, "a number"), ({"x": [{"visits": 2**31 + 1}]}, 400, "counts up to 2,147,483,648"),
])  # fmt: skip
def test_wrong_rows_of_a_table_are_refused_by_column(table: Served, body: Any, status: int, words: str) -> None:
    for what in ("score", "encode", "impute"):
        assert words in table.post(what, body, status)["error"]


@pytest.mark.parametrize(("given", "words"), [
    ({"age": {"from": 3}}, "interval"), ({"age": {}}, "interval"), ({"age": None}, "null"),
    ({"city": []}, "list of its"),
    ({"City": "Bonn"}, "did you mean 'city'"), ({"code": "row 1"}, "no column"), ({"age": [3, 4]}, "a number"),
])  # fmt: skip
def test_wrong_conditions_are_refused_by_column(table: Served, given: dict[str, Any], words: str) -> None:
    assert words in table.post("sample", {"given": given}, 400)["error"]


def test_forms_that_it_has_not_are_refused(digits: Served, table: Served) -> None:
    head = {"Authorization": f"Bearer {TOKEN}"}
    assert digits.ask("/score", b"x=1", **head, Content_Type="text/plain")[0] == 415
    assert table.ask("/score", npy(np.zeros((2, 3))), **head, Content_Type=NPY)[0] == 415
    assert digits.ask("/sample", b"", **head, Accept="text/html")[0] == 406
    assert table.ask("/sample", b"", **head, Accept=NPY)[0] == 406
    assert digits.ask("/score", None, "GET", **head)[0] == 405
    assert digits.headers["Allow"] == "POST"
    assert digits.ask("/model", b"", **head)[0] == 405
    assert digits.ask("/score", b"", **head, Content_Length=str(web.BODY + 1))[0] in (400, 413)


@pytest.mark.parametrize("body", [
    b"", b"\x93NUMPY", npy(IMAGES)[:-1], npy(IMAGES) + b"x", npy(IMAGES[:, :4]), npy(IMAGES[:0]),
    npy(np.array([["a"] * 8] * 8)), npy(IMAGES.astype(complex)), npy(np.full((1, 8, 8), np.nan)),
    npy(IMAGES).replace(b"(6, 8, 8)", b"(9**9**9,"), npy(IMAGES).replace(b"(6, 8, 8)", b"(6e9,8,8)"),
    npy(IMAGES).replace(b"(6, 8, 8), }", b"(999999999,8,8), }"[:12]), b"\x93NUMPY\x03\x00" + npy(IMAGES)[8:],
])  # fmt: skip
def test_bytes_that_are_no_array_are_refused(digits: Served, capfd, body: bytes) -> None:
    digits.post("encode", body, 400, Content_Type=NPY)
    assert capfd.readouterr().err == ""


def test_objects_in_an_npy_are_never_unpickled() -> None:
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(WrongFormError):
        read_npy(out.getvalue(), (), "x")


def test_numbers_go_over_the_wire_as_they_are() -> None:
    values = np.random.default_rng(0).normal(size=50).astype(np.float32)
    assert (np.array(json.loads(write_json({"x": values}))["x"], dtype=np.float32) == values).all()
    assert len(write_json(values)) < 50 * 14
    assert (
        write_json({"a": float("nan"), "b": np.array([1.0, np.inf]), "c": ["é"]})
        == '{"a":null,"b":[1.0,null],"c":["é"]}'.encode()
    )
    assert numbers([[1, 2.0]], (2,), "x").dtype == np.int64
    assert numbers([[1, 2.5]], (2,), "x").dtype == np.float64


# -- many at once ------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_two_hundred_requests_at_once_are_answered_and_memory_does_not_grow(digits: Served, capfd) -> None:
    body = {"x": ROW}
    expected = digits.post("score?k=20", body)

    def some(n: int) -> None:
        with ThreadPoolExecutor(n) as pool:
            assert all(found == expected for found in pool.map(lambda _: digits.post("score?k=20", body), range(n)))

    some(200)
    before = memory()
    some(200)
    assert memory() - before < 20 << 20
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_two_hundred_large_answers_at_once_hold_the_memory_of_a_few(folder: Path) -> None:
    """Who reads slowly makes others wait and holds a piece of its answer: 200 of 2.6 MB would be half a GB."""
    with started(folder, "digits") as (process, port):

        def ask(number: int) -> http.client.HTTPConnection:
            c = http.client.HTTPConnection("127.0.0.1", port)
            head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": JSON, "Accept": JSON}
            c.request("POST", f"/sample?n=4096&seed={number}&mean=true", b"", head)
            return c

        def taken(c: http.client.HTTPConnection) -> int:
            with contextlib.closing(c):
                return len(c.getresponse().read())

        size = taken(ask(0))
        assert size > 2 << 20
        before = memory("VmHWM", str(process.pid))
        peers = [ask(i) for i in range(200)]
        with ThreadPoolExecutor(200) as pool:  # all are open before the first is read
            sizes = list(pool.map(taken, peers))
        assert all(abs(s - size) < size / 5 for s in sizes)
        assert memory("VmHWM", str(process.pid)) - before < 100 << 20


@contextlib.contextmanager
def started(folder: Path, name: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "reparam", "serve", str(trained(folder, name)), "--port", "0", *words]
    environment = {**os.environ, "REPARAM_TOKEN": TOKEN}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", process.stdout.readline())
            assert found is not None
            yield process, int(found[1])
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0
            assert "Traceback" not in errors
            assert TOKEN not in errors


def test_the_command_refuses_wrong_use(folder: Path, capsys) -> None:
    run = str(trained(folder, "digits"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, said in (
            ([run, "--port", port], "in use"), ([run, "--host", "0.0.0.0"], "--token"),
            ([run, "--token", "short"], "16"),
            ([str(folder / "nothing")], "no run folder"), ([run, "--port", "99999999"], "99999999"),
        ):  # fmt: skip
            assert main(["serve", *words]) == 2
            assert said in capsys.readouterr().err


def test_answers_are_sent_without_delay() -> None:
    """Head and body are two writes: by Nagle's rule the second would wait 40 ms for the first to be acknowledged."""
    with web.bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP  # which asyncio asks before it sets TCP_NODELAY


def test_a_token_is_drawn_where_none_is_given(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    class Nobody:
        def run(self, sockets: list[socket.socket]) -> None:
            sockets[0].close()

    monkeypatch.setattr("reparam.cli.serve.server", lambda *_: Nobody())
    assert main(["serve", str(trained(folder, "digits")), "--port", "0"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^token [\w-]{32}$", out, re.M)


# -- the description ---------------------------------------------------------------------------------------------------


def test_the_description_names_every_operation_and_its_bounds(digits: Served, table: Served) -> None:
    for served in (digits, table):
        told = served.told("openapi.json")
        assert told["openapi"] == "3.1.0"
        assert set(told["paths"]) == {f"/{n}" for n in ("model", "openapi.json", *served.told("model")["operations"])}
        for path, methods in told["paths"].items():
            for call in methods.values():
                assert {"200", "400", "401", "422", "500"} <= set(call["responses"])
                assert call["summary"], path
    k = next(p for p in digits.told("openapi.json")["paths"]["/score"]["post"]["parameters"] if p["name"] == "k")
    assert k["schema"] == {"type": "integer", "minimum": 1, "maximum": 5000, "default": 500}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_generated_requests_get_what_the_description_says(folder: Path, name: str) -> None:
    fuzzed(folder, name, 60)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["plain", "table"])
def test_some_generated_requests_get_what_the_description_says(folder: Path, name: str) -> None:
    fuzzed(folder, name, 8)


def fuzzed(folder: Path, name: str, examples: int) -> None:
    """No request of schemathesis, right or wrong, gets an answer that the description does not hold."""
    import schemathesis

    with serving(folder, name) as served:
        torch.set_flush_denormal(False)  # the command's; hypothesis wants floats whole
        head = {"Authorization": f"Bearer {TOKEN}"}
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{served.port}/openapi.json", headers=head)
        for found in schema.get_all_operations():
            operation = found.ok()
            right, wrong = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
            for mode in (right, wrong) if operation.method.upper() == "POST" else (right,):
                probe(operation.as_strategy(generation_mode=mode), head, examples, (200, 422) if mode == right else ())


def probe(cases: Any, head: dict[str, str], examples: int, statuses: tuple[int, ...]) -> None:
    """Ask so many cases, the same ones at each run; of a right form, numbers can be beyond the model (422)."""
    import hypothesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    @hypothesis.given(case=cases)
    @hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    def ask(case: Any) -> None:
        # a Host of another name gets 421, which test_who_may_not_ask_is_refused holds and the tool takes for no refusal
        case.headers = {n: v for n, v in (case.headers or {}).items() if n.lower() != "host"}
        answer = case.call_and_validate(headers=head, excluded_checks=[positive_data_acceptance])
        assert not statuses or answer.status_code in statuses, answer.text

    ask()


def test_the_examples_of_the_page_run(folder: Path, digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parent.parent / "docs" / "serve.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.S)
    assert code is not None
    np.save(folder / "images.npy", IMAGES)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"TOKEN": TOKEN, "ADDRESS": f"http://127.0.0.1:{digits.port}/"}
    exec(code[1], names)
    assert np.allclose(names["scores"], digits.post("score?k=200", {"x": IMAGES.tolist()})["log_likelihood"])
    assert names["codes"].shape == (6, 3)
    assert names["new"].shape == (3, 8, 8)
    options = re.findall(r"POST /(\w+)\?([\w=&]*)", text)  # the defaults that the page states are those of the service
    described = digits.told("openapi.json")["paths"]
    for name, query in options:
        if f"/{name}" in described:
            found = {
                p["name"]: str(p["schema"]["default"]).lower() for p in described[f"/{name}"]["post"]["parameters"]
            }
            assert dict(pair.split("=") for pair in query.split("&")) == found
