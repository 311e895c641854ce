"""Pictures: they are drawn from any data that a model can have, and what they show is where it should be."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from reparam import plots
from reparam.errors import InputError, MissingExtraError
from reparam.plots import style
from reparam.train import History


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def records(epochs, validation=True, kl=3.0):
    made = []
    for epoch in range(1, epochs + 1):
        value = -100.0 - 1e4 * (epoch == 1) - 30 / epoch
        made.append({"epoch": epoch, "train_objective": value, "train_reconstruction": value + 3, "train_kl": kl})
        if validation:
            better = value + (epoch == 7)
            made[-1] |= {"validation_objective": better, "validation_reconstruction": better + 3, "validation_kl": kl}
    return made


def words(figure):
    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text())


@pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4), (3, 5, 4), (4, 5, 4), (2, 5, 4), (5, 4, 3), (5, 4, 1)])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_images_of_every_layout_are_drawn(shape, as_tensor, rng):
    x = rng.random((7, *shape)).astype(np.float32)
    figure = plots.images(torch.from_numpy(x) if as_tensor else x, columns=3, title="seven")
    assert isinstance(figure, Figure)
    assert plots.png_bytes(figure).startswith(b"\x89PNG")
    assert "seven" in words(figure)


def test_an_image_is_shown_as_it_is():
    x = np.array([[[0.0, 1.0], [0.25, -3.0]]])
    shown = plots.images(x).axes[0].images[0].get_array()
    size = len(shown) // 2
    corners = shown[size // 2 :: size, size // 2 :: size]
    assert np.allclose(corners[..., 0], [[0, 1], [0.25, 0]])


def test_colours_stay_in_their_channels_in_both_layouts():
    first = np.zeros((1, 3, 5, 5))
    first[0, 1] = 1.0
    for x in (first, np.moveaxis(first, 1, -1)):
        assert np.allclose(plots.images(x).axes[0].images[0].get_array()[0, 0], [0, 1, 0])


def test_images_refuse_what_is_none():
    with pytest.raises(InputError, match="images of shape"):
        plots.images(np.zeros((3, 4)))
    with pytest.raises(InputError, match="no images"):
        plots.images(np.zeros((0, 4, 4)))


@pytest.mark.parametrize("shape", [(6, 5), (3, 6, 5), (6, 5, 3)])
def test_reconstructions_stand_below_their_originals(shape):
    ones, zeros = np.ones((3, *shape)), np.zeros((3, *shape))
    shown = plots.reconstructions(ones, zeros, n=2).axes[0].images[0].get_array()
    assert np.allclose(shown[: shown.shape[0] // 3], 1)
    assert np.allclose(shown[-1, 0], 0)


def test_reconstructions_of_vectors_are_a_panel_for_each_of_twelve_columns(rng):
    x = rng.normal(size=(40, 15))
    figure = plots.reconstructions(x, x + 0.1, columns=[f"column {i}" for i in range(15)])
    titles = [axis.get_title("left") for axis in figure.axes if axis.get_title("left")]
    assert titles == [f"column {i}" for i in range(12)]
    assert "first 12 of 15" in words(figure)
    with pytest.raises(InputError, match="shape"):
        plots.reconstructions(x, x[:, :3])


def test_marginals_of_tables_with_integers_constants_and_dollars(rng):
    x = np.stack([rng.normal(size=300), rng.integers(0, 4, 300), np.full(300, 7.0), np.full(300, 1e12)], 1)
    figure = plots.marginals(x, x[:100], ["$a$ in $", "count", "constant", "large"])
    assert "$a$ in $" in words(figure)
    assert plots.png_bytes(figure)
    with pytest.raises(InputError, match="rows of numbers"):
        plots.marginals(x, x[:, :2])


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("labels", [None, "names", "numbers", "scale", "many names"])
def test_latent_spaces_of_every_dimension_and_kind_of_label(dim, labels, rng):
    n = 60
    z = rng.normal(size=(n, dim))
    z[3] = math.nan
    kinds = {
        None: None,
        "names": np.where(z[:, 0] > 0, "right", "left"),
        "numbers": np.arange(n) % 10,
        "scale": np.where(np.arange(n) == 5, math.nan, z[:, 0]),
        "many names": np.array([f"kind {i % 20}" for i in range(n)]),
    }
    figure = plots.latent(z, kinds[labels])
    assert plots.png_bytes(figure)
    said = words(figure)
    assert "59 rows" in said
    if labels == "names":
        assert "left" in said
        assert "right" in said
    assert ("z₂" in said) == (dim == 2)
    assert ("second principal component" in said) == (dim == 5)
    assert ("2 sd of the prior" in said) == (dim == 2)


def test_principal_components_tell_their_share_of_the_variance():
    z = torch.randn(40, 4)
    apart = torch.linalg.qr(z - z.mean(0))[0] * torch.tensor([4.0, 2.0, 0.0, 0.0])
    said = words(plots.latent(apart @ torch.linalg.qr(torch.randn(4, 4))[0]))
    assert "first principal component, 80% of" in said
    assert "second principal component, 20% of" in said


def test_names_that_would_cover_each_other_go_into_a_legend(rng):
    z = np.repeat(rng.normal(size=(30, 2)), 3, axis=0)
    figure = plots.latent(z, np.arange(90) % 3)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["0", "1", "2"]
    apart = plots.latent(z + 30 * (np.arange(90) % 3)[:, None], np.arange(90) % 3)
    assert not apart.legends


def test_many_points_are_thinned_and_it_is_said(monkeypatch, rng):
    monkeypatch.setattr("reparam.plots.space.MAX_POINTS", 50)
    figure = plots.latent(rng.normal(size=(80, 2)), np.arange(80) / 7)
    assert "50 rows, drawn at random from 80" in words(figure)
    assert len(figure.axes[0].collections[0].get_offsets()) == 50


def test_latent_refuses_labels_of_another_length():
    with pytest.raises(InputError, match="labels"):
        plots.latent(np.zeros((4, 2)), np.zeros(3))
    with pytest.raises(InputError, match="finite"):
        plots.latent(np.full((4, 2), math.nan))


@pytest.mark.parametrize("shape", [(4, 3), (1, 4, 3), (5, 3, 3)])
def test_the_manifold_runs_through_the_normal_quantiles(shape, double):
    seen = []

    def decode(z):
        seen.append(z)
        return torch.special.ndtr(z[:, 1]).reshape(-1, *[1] * len(shape)).expand(-1, *shape)

    n = 6
    figure = plots.manifold(decode, shape, n=n)
    (z,) = seen
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(n) + 0.5) / n)
    grid = z.reshape(n, n, 2)
    assert torch.allclose(grid[..., 0], quantiles.expand(n, n), atol=1e-12)
    assert torch.allclose(grid[..., 1], quantiles.flip(0)[:, None].expand(n, n), atol=1e-12)
    axis = figure.axes[0]
    shown = axis.images[0].get_array()
    assert shown[0, 0, 0] == pytest.approx((n - 0.5) / n)  # the first row of the picture, its top, has the largest z₂
    assert shown[-1, 0, 0] == pytest.approx(0.5 / n)
    assert axis.get_ylim() == (0, 1)
    assert axis.images[0].origin == "upper"
    assert [t.get_text() for t in axis.get_yticklabels()] == ["\u22121", "0", "1"]
    assert np.allclose(axis.get_yticks(), [0.158655, 0.5, 0.841345], atol=1e-5)


def test_the_manifold_is_of_images():
    with pytest.raises(InputError, match="images of shape"):
        plots.manifold(lambda z: z, (2,))


@pytest.mark.parametrize("epochs", [1, 3, 40])
@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("kl", [3.0, math.nan])
def test_curves_of_any_history(epochs, validation, kl):
    figure = plots.curves(records(epochs, validation, kl))
    assert plots.png_bytes(figure)
    said = words(figure)
    assert ("no density" in said) == math.isnan(kl)
    assert ("best epoch" in said) == validation
    if epochs == 1:
        assert figure.axes[0].lines[0].get_marker() == "o"


def test_curves_mark_the_best_epoch_and_keep_their_range():
    figure = plots.curves(records(40))
    low, high = figure.axes[0].get_ylim()
    assert -130 < low < high < -90
    assert "3 epochs outside, to \u221210,130" in words(figure)
    made = records(40)
    made[6]["validation_objective"] = -99.0
    assert "best epoch: 7" in words(plots.curves(made))
    assert "best epoch: 7" in words(plots.curves(History(made)))
    with pytest.raises(InputError, match="no epochs"):
        plots.curves([])


def test_curves_of_an_upper_bound_mark_the_least_and_a_penalty_has_a_panel():
    falling = [r | {k: -v for k, v in r.items() if k.endswith("objective")} for r in records(8)]
    said = words(plots.curves(falling, sign=-1))
    assert "best epoch: 7" in said
    assert "lower is better" in said
    assert "Penalty" not in said
    figure = plots.curves([r | {"train_penalty": 0.5} for r in records(3)])
    assert "Penalty" in words(figure)
    assert len(figure.axes) == 4


def test_nothing_global_is_changed_and_the_callers_style_does_not_leak_in(tmp_path, rng):
    x = rng.normal(size=(30, 2))
    expected = plots.png_bytes(plots.latent(x))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        plots.save(plots.latent(x), tmp_path / "latent.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "latent.png").read_bytes() == expected
    assert [p.name for p in tmp_path.iterdir()] == ["latent.png"]


def test_names_in_a_script_that_the_font_lacks_are_no_warning():
    assert plots.png_bytes(plots.images(np.zeros((1, 2, 2)), title="漢字"))


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    def require(module, extra, purpose):
        raise MissingExtraError(f"{purpose} needs {module}: pip install 'reparam[{extra}]'")

    monkeypatch.setattr(style, "require", require)
    with pytest.raises(MissingExtraError, match=r"reparam\[plot\]"):
        plots.images(np.zeros((1, 2, 2)))


def test_the_style_is_one_of_matplotlib_and_can_be_taken_over():
    with matplotlib.rc_context():
        matplotlib.rcParams.update(plots.STYLE)
        assert matplotlib.rcParams["axes.spines.top"] is False
