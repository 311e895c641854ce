"""The page as a person uses it, from a file: what it shows is what torch computes, and it asks nobody for anything."""

from __future__ import annotations

import io
import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect
from watching import Watched, explored

import reparam as rp
from reparam.cli.main import main
from reparam.run import open_run

CLOSE = 1e-5
TABS = ["manifold", "traversals", "interpolation", "arithmetic", "samples", "own", "health", "words"]


@pytest.fixture
def watch(watched) -> Iterator:
    """Opens a page; at the end there was no error, and no request but for the file itself."""
    opened: list[tuple[Watched, str]] = []

    def open_(address: str, **options: object) -> Page:
        seen = watched(**options)
        opened.append((seen, address))
        return seen.open(address)

    yield open_
    for seen, address in opened:
        assert seen.errors == []
        own = address.partition("#")[0]
        assert [r for r in seen.requests if r.partition("#")[0] != own and not r.startswith(("blob:", "data:"))] == []


def latent(page: Page) -> torch.Tensor:
    return torch.tensor([page.evaluate("Array.from(reparam.state.z)")])


def decoded(run: Path, z: torch.Tensor) -> torch.Tensor:
    vae = rp.load(run / "run")
    with torch.no_grad():
        return vae.likelihood(z.to(torch.get_default_dtype())).mean[0].flatten().double()


def shown(page: Page) -> torch.Tensor:
    page.wait_for_timeout(150)
    return torch.tensor(page.evaluate("Array.from(reparam.decoded)"), dtype=torch.float64)


def drag(page: Page, selector: str, share: float) -> None:
    box = page.locator(selector).bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * share, y, steps=6)
    page.mouse.up()


def pin(page: Page, *rows: int) -> None:
    for row in rows:
        page.evaluate("(row) => reparam.pinRow(row)", row)


def test_a_slider_decodes_what_torch_decodes_and_the_canvas_shows_it(digits: Path, digits_page: str, watch) -> None:
    page = watch(digits_page)
    before = latent(page)
    drag(page, ".slider input >> nth=0", 0.83)
    z = latent(page)
    moved = (z - before).abs()[0]
    assert (moved > 0.1).sum() == 1
    expected = decoded(digits, z)
    assert (shown(page) - expected).abs().max() <= CLOSE
    pixels = page.evaluate("""() => {
      const canvas = document.querySelector(".pair canvas"), ctx = canvas.getContext("2d");
      const wide = canvas.width, step = wide / 8, out = [];
      const { data } = ctx.getImageData(0, 0, wide, wide);
      for (let i = 0; i < 8; i++) for (let j = 0; j < 8; j++) {
        const x = Math.floor(step * (j + 0.5)), y = Math.floor(step * (i + 0.5));
        out.push(data[4 * (wide * y + x)]);
      }
      return out;
    }""")
    assert (torch.tensor(pixels) - 255 * expected).abs().max() <= 0.51


def test_dimensions_stand_by_their_kl_and_those_that_carry_nothing_apart(tmp_path: Path, watch) -> None:
    words = "train digits --latent-dim 4 --hidden 32 --beta 3 --likelihood bernoulli --binarize threshold --epochs 12"
    assert main([*words.split(), "--seed", "0", "--out", str(tmp_path / "run")]) == 0
    page = watch(explored(tmp_path, "digits"))
    dims = page.evaluate("reparam.meta.dims")
    named = "(all) => all.map((e) => +e.dataset.dim)"
    order = page.locator(".slider input").evaluate_all(named)
    idle = [d["idle"] for d in dims]
    assert any(idle), "the run has no dimension that is not in use: train it otherwise"
    apart = page.locator(".dead .slider.idle input").evaluate_all(named)
    assert sorted(apart) == [j for j, i in enumerate(idle) if i]
    assert order == sorted(range(4), key=lambda j: (idle[j], -dims[j]["kl"]))
    summary = page.locator(".dead summary")
    assert re.search(r"carr(y|ies) nothing", summary.inner_text())
    summary.click()
    assert "not in use" in page.locator(".dead input").first.get_attribute("aria-label")


def test_dragging_on_the_map_decodes_within_a_twentieth_of_a_second(digits: Path, digits_page: str, watch) -> None:
    page = watch(digits_page)
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 220, steps=8)
    page.mouse.up()
    assert (shown(page) - decoded(digits, latent(page))).abs().max() <= CLOSE
    times = page.evaluate("""async () => {
      const out = [];
      for (let i = 0; i < 20; i++) {
        const start = performance.now();
        await reparam.model.mean(reparam.state.z, 1, null);
        await reparam.model.draw(reparam.state.z, 1, null, i, 1);
        out.push(performance.now() - start);
      }
      return out.sort((a, b) => a - b);
    }""")
    assert times[10] < 50


def test_an_image_that_is_dropped_has_its_posterior_reconstruction_and_log_p(
    digits: Path, digits_page: str, watch
) -> None:
    page = watch(digits_page + "#tab=own")
    grey = np.load(io.BytesIO(_bundled()))["x"][7].reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(np.rint(grey.astype(float) / 16 * 255).astype(np.uint8)).save(file, "PNG")
    page.evaluate(
        """(bytes) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "digit.png", { type: "image/png" }));
          const drop = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
          document.getElementById("drop").dispatchEvent(drop);
        }""",
        list(file.getvalue()),
    )
    page.wait_for_selector("#own-logp")
    x = torch.tensor(np.rint(grey.astype(float) / 16 * 255) / 255, dtype=torch.float32)[None]
    vae = rp.load(digits / "run")
    with torch.no_grad():
        mean = vae.posterior(x).mean
    assert (latent(page) - mean).abs().max() <= 1e-4
    assert (torch.tensor(page.evaluate("Array.from(reparam.ownDatum)")) - x.flatten()).abs().max() <= 1e-6
    said = page.inner_text("#own-logp").replace("\u2212", "-")
    value, error = (float(t) for t in re.fullmatch(r"(-?[\d.]+) ± ([\d.]+) nats", said).groups())
    truth = rp.evaluate.log_likelihood(vae, x, 5000)
    assert abs(value - truth.value) <= 6 * error + 0.05
    assert error < 1
    assert re.fullmatch(r"500 draws of q\(z\|x\), worth [\d.]+", page.inner_text("#own-draws"))
    assert re.search(r"± [\d.]+ nats by \d+ draws a row", page.inner_text("header"))


def _bundled() -> bytes:
    from reparam.data import read

    out = io.BytesIO()
    np.savez(out, x=np.asarray(read("digits", None, []).x))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "bytes_", "words"),
    [("note.png", b"this is no image", "no image"), ("row.csv", b"1,2,3\n", "64 numbers; these are 3")],
)
def test_a_file_that_is_none_is_refused_in_words(digits_page: str, watch, name: str, bytes_: bytes, words: str) -> None:
    page = watch(digits_page + "#tab=own")
    page.set_input_files("#own-file", {"name": name, "mimeType": "", "buffer": bytes_})
    expect(page.locator(".error")).to_have_text(re.compile(words))


def test_a_click_pins_and_pins_are_interpolated_between_as_in_numpy(digits: Path, digits_page: str, watch) -> None:
    page = watch(digits_page + "#map=1,2&tab=interpolation")
    at = page.evaluate("""() => {
      const { map } = reparam, box = map.top.getBoundingClientRect();
      return [5, 40].map((i) => {
        const [x, y] = map.toScreen([map.xy[2 * i], map.xy[2 * i + 1]]);
        return [x + box.x, y + box.y];
      });
    }""")
    for x, y in at:
        page.mouse.click(x, y)
    pins = [torch.tensor(z) for z in page.evaluate("reparam.state.pins.map((p) => Array.from(p.z))")]
    assert len(pins) == 2
    assert page.locator(".pin").count() == 2
    slide = page.get_by_label("How far along the way")
    slide.focus()
    slide.fill("0.25")
    assert torch.allclose(latent(page)[0], 0.75 * pins[0] + 0.25 * pins[1], atol=1e-6)
    page.locator("#panel-interpolation").get_by_role("combobox", name="Way").select_option("spherical")
    slide.fill("0.5")
    z = latent(page)[0]
    a, b = pins[0] / pins[0].norm(), pins[1] / pins[1].norm()
    assert abs(float(z.norm() - (pins[0].norm() + pins[1].norm()) / 2)) < 1e-5
    assert abs(float((z / z.norm()) @ a - (z / z.norm()) @ b)) < 1e-5
    assert (shown(page) - decoded(digits, latent(page))).abs().max() <= CLOSE


def test_arithmetic_is_a_plus_b_minus_c(digits_page: str, watch) -> None:
    page = watch(digits_page + "#tab=arithmetic")
    pin(page, 1, 2, 3)
    page.wait_for_timeout(300)
    page.locator("#panel-arithmetic .tile").last.click()
    a, b, c = (np.array(z) for z in page.evaluate("reparam.state.pins.map((p) => Array.from(p.z))"))
    assert np.allclose(latent(page)[0], a + b - c, atol=1e-6)


def test_the_manifold_lies_at_the_quantiles_of_the_prior(digits: Path, digits_page: str, watch) -> None:
    page = watch(digits_page + "#map=1,2")
    tiles = page.locator("#panel-manifold .tile")
    tiles.first.click()
    z, rows = latent(page)[0], 11
    across = tiles.count() // rows
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = normal.icdf(torch.tensor([0.5 / across, 1 - 0.5 / rows]))
    assert torch.allclose(z[:2].float(), expected, atol=1e-5)


def test_temperature_scales_samples_of_the_prior(digits_page: str, watch) -> None:
    page = watch(digits_page)
    z = np.array(page.evaluate("reparam.model.priorDraw(4000, 0.5, 3).then((z) => Array.from(z))"))
    assert abs(z.std() - 0.5) < 0.03
    assert abs(z.mean()) < 0.03


def test_colours_change_the_map_and_its_legend(digits_page: str, watch) -> None:
    page = watch(digits_page)
    picture = "reparam.map.base.toDataURL()"
    seen = {page.evaluate(picture)}
    for key, legend in (("log_p", "log p(x), nats"), ("reconstruction", "E log p(x|z), nats"), ("kl", "KL(")):
        page.get_by_label("Colour").select_option(key)
        page.wait_for_timeout(150)
        assert legend in page.inner_text(".legend >> nth=0")
        seen.add(page.evaluate(picture))
    assert len(seen) == 4


def test_a_shared_address_shows_the_same_view_again(digits_page: str, watch) -> None:
    page = watch(digits_page)
    pin(page, 4, 9)
    page.get_by_role("button", name="Pin this point").click()
    page.get_by_label("Colour").select_option("log_p")
    page.get_by_label("Axes").select_option("dims")
    page.get_by_role("tab", name="Traversals").click()
    page.get_by_role("button", name="Zoom in").click()
    drag(page, ".slider input >> nth=1", 0.3)
    page.wait_for_timeout(400)
    state = """(({ basis, across, up, colour, tab, view, pins, z }) => [basis, across, up, colour, tab,
      view.map((v) => +v.toPrecision(5)), pins.map((p) => [p.row, ...Array.from(p.z, (v) => +v.toFixed(3))]),
      Array.from(z, (v) => +v.toFixed(3))])(reparam.state)"""
    before, address = page.evaluate(state), page.url
    assert "#" in address
    assert watch(address).evaluate(state) == before


def test_on_a_umap_one_walks_between_the_nearest_data(digits: Path, watch, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = types.SimpleNamespace(fit_transform=lambda x: np.tanh(x[:, :2]))
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=lambda **options: layout))
    page = watch(explored(digits, "digits", "--umap") + "#map=1,2")
    page.get_by_label("Axes").select_option("umap")
    assert page.get_by_role("button", name="Ellipses").is_disabled()
    z = torch.tensor(page.evaluate("Array.from(reparam.arrays.z)")).reshape(-1, 3)
    row = page.evaluate("(([x, y]) => Array.from(reparam.state.lift([x, y])))(reparam.arrays.umap.subarray(14, 16))")
    assert torch.allclose(torch.tensor(row), z[7], atol=1e-6)  # exact at a datum
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 60, steps=3)
    page.mouse.up()
    here = latent(page)[0]
    assert bool(((here >= z.min(0).values) & (here <= z.max(0).values)).all())  # a mean of codes, wherever it is
    assert page.evaluate("reparam.map.toScreen(reparam.state.place())") == pytest.approx([80, 60], abs=1)
    assert (shown(page) - decoded(digits, latent(page))).abs().max() <= CLOSE
    steps = page.evaluate("""() => { // no jump on a way across the map, where the nearest change
      const { arrays, library, map } = reparam, [[left, right], [low, high]] = map.edges, out = [];
      for (let t = 0; t <= 4000; t++) {
        const at = [left + (right - left) * t / 4000, low + (high - low) * t / 4000];
        out.push(Array.from(library.blended(at, arrays.umap, 2, arrays.z, 3)));
      }
      return out;
    }""")
    fine, coarse = (np.abs(np.diff(np.array(steps)[::by], axis=0)).max() for by in (1, 8))
    assert fine < coarse / 2
    page.wait_for_timeout(400)
    assert "map=umap" in page.url
    again = watch(page.url)
    assert again.evaluate("reparam.state.basis") == "umap"
    assert torch.allclose(latent(again), latent(page), rtol=1e-4)


@pytest.mark.parametrize("hash_", [
    "#map=99,99&colour=nothing&z=1,2&pins=-4,zz,1e9&view=a,b,c&tab=none", "#map=pca&z=NaN,NaN,NaN&view=0,0,0",
    "#%%%&=&&",
])  # fmt: skip
def test_an_address_that_makes_no_sense_opens_the_page_all_the_same(digits_page: str, watch, hash_: str) -> None:
    page = watch(digits_page + hash_)
    assert page.locator("#panel-manifold").is_visible()
    assert bool(torch.isfinite(latent(page)).all())


def test_the_keyboard_walks_zooms_pins_and_changes_tabs(digits_page: str, watch) -> None:
    page = watch(digits_page)
    page.focus("#map")
    before, wide = latent(page), page.evaluate("reparam.map.view[2]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert not torch.equal(latent(page), before)
    page.keyboard.press("+")
    assert page.evaluate("reparam.map.view[2]") < wide
    page.keyboard.press("Enter")
    assert page.evaluate("reparam.state.pins.length") == 1
    assert page.inner_text("#said").startswith("Pinned row")
    page.focus("#tab-manifold")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-traversals"
    assert page.locator("#panel-traversals").is_visible()
    assert not page.locator("#panel-manifold").is_visible()


def test_a_lasso_selects_rows_that_are_saved_as_csv(digits_page: str, watch) -> None:
    page = watch(digits_page)
    page.get_by_role("button", name="Lasso").click()
    box = page.locator("#map").bounding_box()
    corners = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)]
    x, y = ([box["x"] + s * box["width"] for s, _ in corners], [box["y"] + t * box["height"] for _, t in corners])
    page.mouse.move(x[0], y[0])
    page.mouse.down()
    for i in (1, 2, 3):
        page.mouse.move(x[i], y[i], steps=4)
    page.mouse.up()
    chosen = page.evaluate("reparam.state.selection")
    assert 100 < len(chosen) <= 1797
    with page.expect_download() as waiting:
        page.locator(".picked").get_by_role("button", name="CSV").click()
    table = pandas.read_csv(waiting.value.path())
    assert (
        table["row"].tolist()
        == [page.evaluate(f"reparam.arrays.row[{i}]") for i in chosen[:3]] + table["row"].tolist()[3:]
    )
    assert len(table) == len(chosen)
    assert {"label", "log_p", "z1", "x0"} <= set(table)
    page.keyboard.press("Escape")


def test_figures_are_saved_as_png_and_svg(digits_page: str, watch) -> None:
    page = watch(digits_page)
    for area in ("section[aria-labelledby=map-title]", "#panel-manifold"):
        for kind in ("PNG", "SVG"):
            with page.expect_download() as waiting:
                page.locator(area).get_by_role("button", name=f"as {kind}").first.click()
            data = Path(waiting.value.path()).read_bytes()
            assert data[:8] == b"\x89PNG\r\n\x1a\n" if kind == "PNG" else data.startswith(b"<svg")
            assert len(data) > 2000


def test_fifty_thousand_points_are_drawn_at_an_interactive_rate(tmp_path: Path, watch) -> None:
    """The median time of a frame, in the page, while the map is dragged: 10 ms here, 50 ms allowed."""
    x = np.random.default_rng(0).normal(size=(50_000, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert main(f"train {tmp_path / 'x.npy'} --latent-dim 2 --epochs 1 --out {tmp_path / 'run'}".split()) == 0
    page = watch(explored(tmp_path, str(tmp_path / "x.npy"), "--rows", "50000"))
    page.get_by_role("button", name="Move").click()
    box = page.locator("#map").bounding_box()
    page.evaluate("reparam.map.frames.length = 0")
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 300, steps=30)
    page.mouse.up()
    page.wait_for_timeout(200)
    frames = page.evaluate("reparam.map.frames")
    assert len(frames) >= 5
    assert float(np.median(frames)) < 50, f"{np.median(frames):.0f} ms a frame"


def test_a_mixed_table_reads_a_row_with_holes_as_the_estimator_does(mixed: Path, mixed_page: str, watch) -> None:
    page = watch(mixed_page + "#tab=own")
    row = {"sex": "M", "age": "44", "city": "Bonn, old", "income": "", "visits": "2", "share": "0.25", "peaks": "8.5",
           "since": "2021-03-04", "agrees": "True"}  # fmt: skip
    fields = page.locator("form.fields")
    for name, value in row.items():
        field = fields.get_by_label(name, exact=True)
        if field.evaluate("(e) => e.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    fields.get_by_role("button", name="Read it").click()
    page.wait_for_selector("#own-logp")
    model = rp.TabularVAE.load(mixed / "run")
    frame = pandas.DataFrame({k: [v] for k, v in row.items()}).replace("", None)
    frame["agrees"], frame["since"] = [True], pandas.to_datetime(frame["since"])
    for name in ("age", "income", "visits", "share", "peaks"):
        frame[name] = pandas.to_numeric(frame[name])
    assert np.abs(latent(page).numpy() - np.asarray(model.transform(frame))).max() <= 1e-4
    truth = model.log_likelihood(frame, k=5000).value
    value, error = (float(t) for t in re.findall(r"-?[\d.]+", page.inner_text("#own-logp").replace("\u2212", "-"))[:2])
    assert abs(value - truth) <= 6 * error + 0.05
    table = page.locator(".result table.rows")
    assert "Bonn, old" in table.inner_text()
    assert "2021-03-04" in table.inner_text()
    assert (shown(page) - decoded(mixed, latent(page))).abs().max() <= CLOSE * 10


def test_a_row_is_read_from_a_file_by_its_names_and_refused_by_its_cells(mixed_page: str, watch) -> None:
    page = watch(mixed_page + "#tab=own")
    names = "age,sex,city,income,visits,share,peaks,since,agrees"

    def give(text: str) -> None:
        page.set_input_files("#own-file", {"name": "row.csv", "mimeType": "text/csv", "buffer": text.encode()})

    give(f'{names}\n30,F,"Bonn, old",900,1,0.5,,2020-02-02,False\n')
    page.wait_for_selector("#own-logp")
    for text, words in [
        (f"{names}\n30,X,Lyon,900,1,0.5,,2020-02-02,False\n", '"X" is none of'),
        (f"{names}\n30,F,Lyon,-5,1,0.5,,2020-02-02,False\n", "income"),
        (f"{names}\nmany,F,Lyon,5,1,0.5,,2020-02-02,False\n", "age"),
        ("age,sex\n1,F\n", "no column"), ("", "nothing in it"),
    ]:  # fmt: skip
        give(text)
        expect(page.locator(".error")).to_contain_text(words)


def test_scores_of_a_mixed_table_are_those_of_the_estimator(mixed: Path, mixed_page: str, watch) -> None:
    """log p(x) of the page is per unit of the columns, as score_samples gives it: within the error of their draws."""
    page = watch(mixed_page)
    found = np.array(page.evaluate("Array.from(reparam.arrays.log_p)"))
    frame = pandas.read_csv(mixed / "table.csv", parse_dates=["since"])
    truth = rp.TabularVAE.load(mixed / "run").score_samples(frame)
    assert abs(found.mean() - truth.mean()) < 0.2


def test_a_conditional_model_of_convolutions_decodes_given_what_is_chosen(
    conditional: Path, conditional_page: str, watch
) -> None:
    page = watch(conditional_page)
    page.get_by_role("combobox", name="kind").select_option(label="7")
    page.get_by_role("spinbutton", name="dose").fill("4.5")
    page.keyboard.press("Tab")
    drag(page, ".slider input >> nth=1", 0.8)
    run = open_run(conditional / "run")
    schema = run.schema
    assert schema is not None
    kind, dose = schema.contexts
    given = torch.zeros(1, 11)
    given[0, kind.categories.index("7")] = 1
    given[0, 10] = (4.5 - dose.loc[0]) / dose.spread[0]
    with torch.no_grad():
        expected = run.vae.likelihood(latent(page), given).mean.flatten().double()
    assert (shown(page) - expected).abs().max() <= CLOSE


def test_counts_are_lines_and_decode_as_in_torch(counts: Path, counts_page: str, watch) -> None:
    page = watch(counts_page)
    drag(page, ".slider input >> nth=0", 0.7)
    page.get_by_label("Colour").select_option("column 5")
    page.wait_for_timeout(150)
    assert "element 6" in page.inner_text(".legend >> nth=0")
    expected = decoded(counts, latent(page))
    assert ((shown(page) - expected).abs() / (1 + expected.abs())).max() <= CLOSE


@pytest.mark.parametrize("kind", ["digits", "table", "mixed", "counts", "conditional"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_is_accessible_and_fits_a_phone(kind: str, scheme: str, watch, request) -> None:
    page = watch(request.getfixturevalue(f"{kind}_page"), color_scheme=scheme)
    pin(page, 0, 1, 2)
    for tab in TABS:
        page.set_viewport_size({"width": 1300, "height": 1000})
        page.evaluate("(tab) => reparam.state.set({ tab })", tab)
        page.wait_for_timeout(120)
        found = Axe().run(page)
        assert found.violations_count == 0, json.dumps(found.response["violations"], indent=1)[:3000]
        page.set_viewport_size({"width": 375, "height": 800})
        page.wait_for_timeout(60)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, tab


def test_nothing_jumps_while_walking(digits_page: str, watch) -> None:
    page = watch(digits_page)
    page.evaluate("""() => {
      window.shifts = 0;
      const add = (list) => list.getEntries().forEach((e) => { window.shifts += e.value; });
      new PerformanceObserver(add).observe({ type: "layout-shift" });
    }""")
    drag(page, ".slider input >> nth=0", 0.9)
    drag(page, ".slider input >> nth=1", 0.1)
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifts") < 0.01


def test_the_policy_forbids_what_the_page_does_not_need(digits_page: str, watched) -> None:
    """A request that a script in the page tries to make is refused by the browser."""
    page = watched().open(digits_page)
    refused = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', (e) => 'refused')")
    assert refused == "refused"
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
