"""The explorer's page as a file, and its server: what they hold, whom they answer, and what they refuse."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import signal
import subprocess
import sys
import time
import types
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import reparam as rp
from cells import write
from reparam import networks, web
from reparam.cli.main import main
from reparam.data import Schema
from reparam.errors import InputError
from reparam.explorer import NotInThePageError, View, bundle, file_page, look, projection, server
from reparam.explorer.view import _errors
from reparam.run import Run, open_run
from serving import TOKEN, Serving, memory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explored") / "run"
    assert main(f"train digits --latent-dim 3 --hidden 32 --epochs 2 --out {folder}".split()) == 0
    return folder


def payload(page: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    text = re.search(r'id="payload">([^<]*)<', page)
    assert text is not None
    return opened(zlib.decompress(base64.b64decode(text[1])))


def opened(block: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    size = int.from_bytes(block[:4], "little")
    head, rest = json.loads(block[4 : 4 + size]), block[4 + size :]
    return head["meta"], {
        name: np.frombuffer(rest, a["dtype"], a["length"], a["at"]) for name, a in head["arrays"].items()
    }


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    file = run.parent / "page.html"
    assert main(["explore", str(run), "--html", str(file)]) == 0
    return file.read_text(encoding="utf-8")


def test_the_file_is_small_and_names_nobody(page: str) -> None:
    assert len(page) < 3_000_000
    outside = set(re.findall(r"https?://[^\"'` )]+", page))
    assert outside <= {"http://www.w3.org/2000/svg"}  # the name of SVG, which is no address


def test_the_policy_allows_this_script_and_this_style_and_nothing_else(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].replace("&#x27;", "'").split(";"))
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert inside is not None
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert set(rules.values()) == {"'none'"}
    assert rules["default-src"] == "'none'"


def test_the_page_holds_the_codes_and_scores_of_the_rows(run: Path, page: str) -> None:
    meta, arrays = payload(page)
    opened_run = open_run(run)
    from reparam.cli.common import dataset

    assert opened_run.schema is not None
    data = dataset(opened_run.schema, "digits", None, None)
    assert meta["rows"] == len(data) == 1797
    codes = rp.evaluate.encode(opened_run.vae, data, 0).numpy()
    assert np.abs(arrays["z"].reshape(codes.shape) - codes).max() < 1e-6
    terms = rp.evaluate.elbo_terms(opened_run.vae, data, 5, 0)
    assert np.allclose(arrays["kl"], terms.kl.per_datum, atol=1e-4)
    assert meta["scores"]["elbo"] == pytest.approx([terms.elbo.value, terms.elbo.stderr])
    assert (arrays["log_p_error"] >= 0).all()
    assert arrays["log_p"].mean() == pytest.approx(meta["scores"]["log_p"][0], abs=1e-3)
    assert meta["doctor"]["rows"] > 0
    assert len(meta["history"]) == 2


def test_words_of_the_data_cannot_leave_their_place(run: Path) -> None:
    """Names are somebody else's text: in the page they are packed, and in its title escaped."""
    opened_run = open_run(run)
    assert opened_run.schema is not None
    data = rp.Dataset(np.random.default_rng(0).integers(0, 17, (30, 8, 8)).astype(np.uint8), pixel_max=16)
    view = look(opened_run, opened_run.schema, data, rows=30, name="</title><script>alert(1)</script>", doctor=False)
    assert "<script>alert" not in file_page(view)


def test_modules_of_the_page_that_share_a_name_or_lack_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "main.js": 'import { a } from "./one.js";\nconst b = a;\n', "one.js": "export const a = 1;\n",
        "twice.js": 'import { a } from "./one.js";\nconst a = 2;\n', "lacks.js": 'import { z } from "./one.js";\n',
        "circle.js": 'import { c } from "./back.js";\nexport const d = 1;\n',
        "back.js": 'import { d } from "./circle.js";\nexport const c = 1;\n',
    }  # fmt: skip
    monkeypatch.setattr(bundle, "source", texts.__getitem__)
    assert "import" not in bundle.script("main.js")
    assert "const b = a" in bundle.script("main.js")
    for name, words in (("twice.js", "declared"), ("lacks.js", "does not export"), ("circle.js", "circle")):
        with pytest.raises(ValueError, match=words):
            bundle.script(name)


@pytest.mark.parametrize(("part", "words"), [
    ("layer", "a layer LSTM"), ("prior", "the prior Flow"), ("posterior", "the posterior Flow"),
])  # fmt: skip
def test_what_the_page_cannot_compute_is_named_with_the_served_page(tmp_path: Path, part: str, words: str) -> None:
    data = rp.Dataset(np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))

    class LSTM(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, x], -1)[..., :4]

    encoder = LSTM() if part == "layer" else networks.mlp(4, 4, (5,))
    posterior = (
        rp.posteriors.Flow(networks.mlp(4, 4, (5,)), 2)
        if part == "posterior"
        else rp.posteriors.DiagonalGaussian(encoder)
    )
    prior = rp.priors.Flow(2) if part == "prior" else rp.priors.StandardNormal(2)
    vae = rp.VAE(prior, rp.likelihoods.Gaussian(networks.mlp(2, 4, (5,))), posterior)
    found = Run(tmp_path, vae, {}, None)
    view = look(found, Schema.of(data), data, rows=40, name="it", doctor=False)
    with pytest.raises(NotInThePageError, match=re.escape(words)) as error:
        file_page(view)
    assert "served page" in str(error.value)
    with Service(view) as service:  # which computes it
        z = torch.randn(2, 2)
        with torch.no_grad():
            mean = vae.likelihood(z).mean.flatten()
        assert np.allclose(service.post("decode", {"rows": 2}, z)[1]["x"], mean, atol=1e-5)
        assert np.isfinite(service.post("encode", {"rows": 1}, data.x[0])[1]["covariance"]).all()
        assert np.isfinite(service.post("score", {"rows": 1, "k": 50, "seed": 0}, data.x[0])[0]["logp"])


@pytest.mark.parametrize(("words", "said"), [
    (["--rows", "1", "--html", "x.html"], "--rows"), (["--html", "x.txt"], "x.txt"), (["--host", "0.0.0.0"], "--token"),
    (["--token", "short"], "--token"), (["--host", "host.invalid", "--token", TOKEN], "host.invalid"),
])  # fmt: skip
def test_wrong_options_are_one_line_of_words(run: Path, capsys, words: list[str], said: str) -> None:
    assert main(["explore", str(run), *words]) == 2
    assert said in capsys.readouterr().err


def test_cells_are_explored_with_their_batch_and_the_size_of_their_library(tmp_path: Path) -> None:
    """Their rows are stored sparse; the page holds them dense, and the server computes what torch does."""
    from reparam.cli.common import dataset
    from reparam.explorer.compute import Computer

    rng = np.random.default_rng(0)
    x, batch = rng.poisson(3.0, (60, 70)), np.array(["a", "b"])[np.arange(60) % 2]
    write(tmp_path / "cells.h5ad", x.astype(np.float32), {"batch": batch})
    words = f"{tmp_path / 'cells.h5ad'} --out {tmp_path / 'run'} --batch batch --latent-dim 2 --hidden 8 --epochs 1"
    assert main(["train", *words.split()]) == 0
    file = tmp_path / "cells.html"
    asked = ["explore", str(tmp_path / "run"), str(tmp_path / "cells.h5ad"), "--html", str(file), "--no-doctor"]
    assert main(asked) == 0
    meta, arrays = payload(file.read_text(encoding="utf-8"))
    assert np.array_equal(arrays["x"].reshape(60, 70), x)
    assert [(c["name"], c["width"]) for c in meta["contexts"]] == [("batch", 2), ("size factor", 1)]
    typical = meta["contexts"][1]["total"]
    assert np.allclose(arrays["context"].reshape(60, 3)[:, 2], x.sum(1) / typical)
    run = open_run(tmp_path / "run")
    assert run.schema is not None
    data = dataset(run.schema, str(tmp_path / "cells.h5ad"))
    computer = Computer(look(run, run.schema, data, rows=60, name="cells", doctor=False))
    context = np.array([0, 1, 2.5], np.float32)
    _, found = computer.answer("decode", {"rows": 1}, [np.zeros(2, np.float32), context])
    with torch.no_grad():
        mean = run.vae.decode(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]), torch.tensor([[2.5]]))
    assert np.allclose(found["x"], mean, rtol=1e-6)


class Layout:
    """In the place of umap-learn: a layout that shows what it was given."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **options: Any) -> None:
        self.asked.append(options)

    def fit_transform(self, x: np.ndarray) -> np.ndarray:
        return np.tanh(x[:, :2])


def test_a_umap_is_beside_the_codes_and_the_seed_decides_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Layout))
    file = run.parent / "umap.html"
    words = ["explore", str(run), "--html", str(file), "--umap", "--rows", "60", "--seed", "5", "--no-doctor"]
    assert main(words) == 0
    _, arrays = payload(file.read_text(encoding="utf-8"))
    assert np.array_equal(arrays["umap"].reshape(60, 2), np.tanh(arrays["z"].reshape(60, 3)[:, :2]))
    assert Layout.asked[-1] == {"n_neighbors": 15, "random_state": 5, "n_jobs": 1}
    monkeypatch.setattr(Layout, "fit_transform", lambda self, x: np.full((len(x), 2), np.nan))
    with pytest.raises(InputError, match="leave --umap out"):
        projection.umap(np.zeros((60, 3)), 0)
    with pytest.raises(InputError, match="more than 15 rows, and these are 9"):
        projection.umap(np.zeros((9, 3)), 0)


@pytest.mark.parametrize("module", [None, types.SimpleNamespace()], ids=["none", "another package of that name"])
def test_without_umap_learn_the_extra_is_named(run: Path, capsys, monkeypatch, module: Any) -> None:
    monkeypatch.setitem(sys.modules, "umap", module)
    assert main(["explore", str(run), "--umap", "--html", str(run.parent / "never.html")]) == 2
    assert "pip install 'reparam[umap]'" in capsys.readouterr().err
    assert not (run.parent / "never.html").exists()


@pytest.mark.thorough  # a minute of compiling
@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed")
def test_a_umap_keeps_groups_apart_and_repeats_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(150) % 3
    means = 20 * np.eye(5)[group] + rng.normal(size=(150, 5))
    at, again = projection.umap(means, 1), projection.umap(means, 1)
    assert np.array_equal(at, again)
    apart = np.linalg.norm(at[:, None] - at, axis=-1) + 1e9 * np.eye(150)
    assert (group[apart.argmin(1)] == group).all()


def test_the_error_of_log_p_is_the_spread_of_its_repeats() -> None:
    """To first order: 0.07 nats here. The spread of 4000 repeats is known to 1.1%, of which six are allowed."""
    k = 100
    torch.manual_seed(0)
    log_w = 0.6 * torch.randn(4000, k, dtype=torch.float64)
    w = log_w.exp()
    told = _errors(w.sum(-1) ** 2 / (w**2).sum(-1), k)
    spread = float(w.mean(-1).log().std())
    assert float(told.mean()) == pytest.approx(spread, rel=0.07)
    assert float(_errors(torch.tensor([float(k)]), k)) == 0  # an exact posterior has weights of one size


# -- the server --------------------------------------------------------------------------------------------------------


class Service(Serving):
    """A server of the page, and requests to it."""

    def __init__(self, view: View) -> None:
        super().__init__(server.server(view, TOKEN, "127.0.0.1"))
        self.view = view

    def post(self, what: str, table: dict[str, Any], *arrays: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        status, answer = self.ask(f"/{TOKEN}/{what}", request(table, *arrays))
        assert status == 200, answer
        return opened(answer)


def request(table: dict[str, Any], *arrays: Any) -> bytes:
    flat = [np.asarray(a, "<f4").reshape(-1) for a in arrays]
    head = json.dumps({**table, "lengths": [len(a) for a in flat]}).encode()
    return len(head).to_bytes(4, "little") + head + b"".join(a.tobytes() for a in flat)


@pytest.fixture(scope="module")
def served(run: Path) -> Iterator[Service]:
    from reparam.cli.common import dataset

    found = open_run(run)
    assert found.schema is not None
    view = look(found, found.schema, dataset(found.schema, "digits", None, None), rows=200, name="run", doctor=False)
    with Service(view) as service:
        yield service


def test_the_server_gives_the_page_with_its_policy_and_the_points(served: Service) -> None:
    status, page = served.ask(f"/{TOKEN}/")
    assert status == 200
    assert b"reparam explorer" in page
    policy = served.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "connect-src 'self'" in policy
    assert served.headers["X-Content-Type-Options"] == "nosniff"
    assert "server" not in served.headers
    meta, arrays = opened(served.ask(f"/{TOKEN}/points")[1])
    assert meta["rows"] == 200
    assert "x" not in arrays
    assert len(arrays["z"]) == 600
    assert served.ask(f"/{TOKEN}")[0] == 308


def test_the_server_computes_what_torch_computes(served: Service) -> None:
    vae, data = served.view.vae, served.view.data
    z = torch.randn(4, 3)
    x = data.x[:5].float() / 16
    with torch.no_grad():
        q = vae.posterior(x)
        mean = vae.likelihood(z).mean.flatten()
    assert np.allclose(served.post("decode", {"rows": 4}, z)[1]["x"], mean, atol=1e-6)
    assert np.allclose(served.post("rows", {"rows": [0, 1, 2, 3, 4]})[1]["x"], x.flatten(), atol=1e-6)
    assert np.array_equal(served.post("column", {"column": 20})[1]["x"], data.x[:].flatten(1)[:, 20].float())
    found = served.post("encode", {"rows": 5}, x)[1]
    assert np.allclose(found["mean"], q.mean.flatten(), atol=1e-6)
    assert np.allclose(found["covariance"].reshape(5, 3, 3), torch.diag_embed(q.variance), atol=1e-6)
    told = served.post("score", {"rows": 1, "k": 500, "seed": 3}, x[0])[0]
    assert told["logp"] == pytest.approx(rp.evaluate.log_likelihood(vae, x[:1], 500, seed=3).value, abs=1e-4)
    once, again = (served.post("draw", {"rows": 2, "seed": 5, "times": 3}, z[:2])[1]["x"] for _ in range(2))
    assert np.array_equal(once, again)
    assert once.shape == (2 * 3 * 64,)
    assert served.post("logprior", {"rows": 1}, z[0])[0]["log"] == pytest.approx(
        float(vae.prior().log_prob(z[0])), abs=1e-5
    )
    assert abs(served.post("prior", {"rows": 4000, "temperature": 0.5, "seed": 1})[1]["z"].std() - 0.5) < 0.03


@pytest.mark.parametrize("path", [
    "/", "/points", "//points", "/wrong/", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", f"/{TOKEN.upper()}/points",
    f"/{TOKEN}/../../etc/passwd", f"/{TOKEN}/..%2f..%2fetc%2fpasswd", f"/{TOKEN}/./points", f"/{TOKEN}//points",
    f"/{TOKEN}/page/main.js", f"/{TOKEN}/points/", f"/{TOKEN}/points%00", "/%ff%fe/", f"/{TOKEN}/nothing",
    "/favicon.ico",
])  # fmt: skip
def test_other_paths_are_not_there(served: Service, path: str) -> None:
    status, words = served.ask(path)
    assert status == 404
    assert TOKEN.encode() not in words
    assert b"Traceback" not in words


@pytest.mark.parametrize(("headers", "status"), [
    ({"Host": "evil.example"}, 421), ({"Host": "evil.example:80"}, 421), ({"Host": ""}, 421),
    ({"Host": "127.0.0.1.evil.example"}, 421), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
    ({"Sec_Fetch_Site": "cross-site"}, 403), ({"Sec_Fetch_Site": "same-site"}, 403), ({"Host": "localhost"}, 200),
    ({"Sec_Fetch_Site": "same-origin"}, 200),
])  # fmt: skip
def test_foreign_hosts_and_origins_are_refused_even_with_the_token(served: Service, headers: dict, status: int) -> None:
    assert served.ask(f"/{TOKEN}/points", **headers)[0] == status
    assert served.ask(f"/{TOKEN}/decode", request({"rows": 1}, [0, 0, 0]), **headers)[0] == status


GOOD = request({"rows": 1}, [0.0, 0.0, 0.0])


@pytest.mark.parametrize(("what", "body"), [
    ("decode", b""), ("decode", b"\x00"), ("decode", b"\xff\xff\xff\xff{}"), ("decode", b"\x02\x00\x00\x00[]"),
    ("decode", b"\x05\x00\x00\x00{nope"), ("decode", GOOD[:-1]), ("decode", GOOD + b"\x00"),
    ("decode", request({"rows": 2}, [0, 0, 0])), ("decode", request({"rows": -1}, [0, 0, 0])),
    ("decode", request({"rows": True}, [0, 0, 0])), ("decode", request({"rows": 10**9}, [0, 0, 0])),
    ("decode", request({"rows": 1}, [np.nan, 0, 0])), ("decode", request({"rows": 1}, [np.inf, 0, 0])),
    ("decode", request({"rows": 1})), ("decode", request({"rows": "1"}, [0, 0, 0])),
    ("draw", request({"rows": 1, "times": 10**6, "seed": 1}, [0, 0, 0])),
    ("draw", request({"rows": 1, "seed": 2**40}, [0, 0, 0])), ("draw", request({"rows": 1, "seed": 0.5}, [0, 0, 0])),
    ("draw", request({"rows": 1000, "times": 1000}, np.zeros(3000))),
    ("rows", request({"rows": [10**6]})), ("rows", request({"rows": [-1]})), ("rows", request({"rows": "../x"})),
    ("rows", request({"rows": [0] * 5000})), ("rows", request({})),
    ("column", request({"column": 64})), ("column", request({"column": -1})), ("column", request({"column": "x"})),
    ("score", request({"rows": 1, "k": 10**7}, np.zeros(64))),
    ("score", request({"rows": 2, "k": 10}, np.zeros(128))), ("score", request({"rows": 1}, np.full(64, np.nan))),
    ("prior", request({"rows": 10, "temperature": "hot"})), ("prior", request({"rows": 10, "temperature": -1})),
    ("decode", b"\x00\x00\x02\x00" + b"[" * 0x20000),
])  # fmt: skip
def test_malformed_bodies_are_refused_in_words(served: Service, capfd, what: str, body: bytes) -> None:
    status, words = served.ask(f"/{TOKEN}/{what}", body)
    assert status == 400
    assert 5 < len(words) < 300
    assert b"Traceback" not in words
    assert capfd.readouterr().err == ""


def test_large_bodies_and_other_methods_are_refused(served: Service) -> None:
    assert served.ask(f"/{TOKEN}/decode", None, "POST", Content_Length=str(web.BODY + 1))[0] == 413
    assert served.ask(f"/{TOKEN}/decode", None, "POST", Content_Length="-5")[0] in (400, 413)
    chunk = b"x" * (1 << 20)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.putrequest("POST", f"/{TOKEN}/decode")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    try:
        for _ in range(40):
            connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    except OSError:
        pass  # the server has hung up
    else:
        assert connection.getresponse().status == 413
    connection.close()
    assert served.ask(f"/{TOKEN}/decode")[0] == 405
    assert served.ask(f"/{TOKEN}/points", b"")[0] == 405
    assert served.ask(f"/{TOKEN}/", method="DELETE")[0] == 405
    assert served.ask(f"/{TOKEN}/decode", GOOD)[0] == 200


def test_two_hundred_requests_at_once_are_all_answered(served: Service, capfd) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 3))

    def one(i: int) -> np.ndarray:
        return served.post("decode", {"rows": 1}, z[i])[1]["x"]

    with ThreadPoolExecutor(200) as pool:
        found = np.stack(list(pool.map(one, range(200))))
    with torch.no_grad():
        expected = served.view.vae.likelihood(torch.tensor(z, dtype=torch.float32)).mean.reshape(200, 64)
    assert np.allclose(found, expected, atol=1e-5)
    assert capfd.readouterr().err == ""


def test_memory_does_not_grow_with_requests(served: Service) -> None:
    body = request({"rows": 500}, np.zeros(1500))

    def some(n: int) -> None:
        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(lambda _: served.ask(f"/{TOKEN}/decode", body)[0], range(n))) == {200}

    some(100)
    before = memory()
    some(300)  # of 128 kB each, so that a leak of every answer would be 38 MB
    assert memory() - before < 20 << 20


@pytest.mark.parametrize(("host", "name", "good"), [
    ("127.0.0.1", "127.0.0.1", True), ("127.0.0.1", "localhost", True), ("127.0.0.1", "[::1]", True),
    ("127.0.0.1", "10.0.0.1", False), ("127.0.0.1", "a.example", False), ("0.0.0.0", "192.168.1.4", True),
    ("0.0.0.0", "a.example", False), ("box.example", "box.example", True), ("::", "[fe80::1]", True),
])  # fmt: skip
def test_names_that_a_server_answers_to(host: str, name: str, good: bool) -> None:
    assert web.may_be_host(name, host) is good


def test_tokens_are_drawn_or_long() -> None:
    drawn = {web.check_binding("127.0.0.1", None) for _ in range(20)}
    assert len(drawn) == 20
    assert min(map(len, drawn)) >= 32
    for host, token in (("0.0.0.0", None), ("192.168.0.1", None), ("127.0.0.1", "a/b" * 9), ("127.0.0.1", "é" * 20)):
        with pytest.raises(InputError, match="--token"):
            web.check_binding(host, token)


def test_the_command_serves_until_it_is_interrupted(run: Path) -> None:
    words = [sys.executable, "-m", "reparam", "explore", str(run), "digits", "--rows", "50", "--no-doctor"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/[\w-]{32,}/)", address)
        assert found is not None, address
        for _ in range(100):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
                connection.request("GET", found[2])
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        answer = connection.getresponse()
        assert answer.status == 200
        assert b"reparam explorer" in answer.read()
        connection.close()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in errors
