"""VariationalAutoencoder: scikit-learn's contract, and the laws of the scores, codes and samples that it gives."""

from __future__ import annotations

import copy
import math
import pickle
import pickletools
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

import reparam as rp
from refusals import refused
from reparam.errors import RunFolderError
from reparam.estimators import autoencoder
from reparam.run import from_bytes, to_bytes

TINY = {"hidden": (8,), "epochs": 3, "score_k": 8}


def tiny(latent_dim=2, **params):
    return rp.VariationalAutoencoder(latent_dim, **{**TINY, "random_state": 0, **params})


def real(rows=60, columns=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + 5


def binary(rows=60, columns=4):
    return (np.random.default_rng(0).random((rows, columns)) < 0.4).astype(float)


def counts(rows=60, columns=4):
    return np.random.default_rng(0).negative_binomial(2, 0.3, (rows, columns)).astype(float)


def linear_model(e):
    """Mean and covariance of x, in units of the data, of a fitted model without hidden layers and with N(0, I)."""
    standardized = e.vae_.likelihood
    inner = standardized.likelihood
    net, spread = inner.net.layers[0], standardized.spread
    w = (spread[:, None] * net.weight).detach().double().numpy()
    mean = (standardized.loc + spread * net.bias).detach().double().numpy()
    noise = (spread * inner.log_scale.exp()).detach().double().numpy()
    return mean, w @ w.T + np.diag(noise**2)


# scikit-learn's own checks: every one, at its own tolerances


def test_the_checks_of_scikit_learn_pass():
    """In a process of its own: the checks build estimators with nonsense, which the types checked under test refuse."""
    code = """
import reparam as rp
from sklearn.utils.estimator_checks import check_estimator
for params in ({"dtype": "auto"}, {"dtype": "float32"}, {"dtype": "float64"}, {"codes": "sample"}, {"validation": 0.0}):
    results = check_estimator(
        rp.VariationalAutoencoder(2, hidden=(8,), epochs=3, score_k=8, **params), on_skip=None,
        expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": "minibatches, drawn by weight"},
    )
    assert len(results) > 50, results
    others = [r["check_name"] for r in results if r["status"] != "passed"]
    assert set(others) <= {"check_array_api_input", "check_sample_weight_equivalence_on_dense_data"}, others
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_weights_of_rows_count_them():
    """A linear model learns the weighted mean, to a tenth of a deviation; the plain one is 0.4 away. One seed."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, 300), rng.normal(4, 1, 100)])[:, None] @ np.array([[1.0, 0.5]])
    x += 0.3 * rng.normal(size=x.shape)
    w = np.repeat([1.0, 3.0], [300, 100])
    e = rp.VariationalAutoencoder(1, hidden=(), epochs=60, random_state=0).fit(x, sample_weight=w)
    mean, _ = linear_model(e)
    wanted = np.average(x, axis=0, weights=w)
    spread = np.sqrt(np.average((x - wanted) ** 2, axis=0, weights=w))
    assert np.abs((mean - wanted) / spread).max() < 0.1
    assert np.abs((x.mean(0) - wanted) / spread).min() > 0.4


def test_equal_weights_and_rows_of_weight_zero_change_nothing():
    x = real(60)
    fit = {"epochs": 3, "hidden": (8,), "random_state": 0, "score_k": 20}
    plain = rp.VariationalAutoencoder(2, **fit).fit(x)
    even = rp.VariationalAutoencoder(2, **fit).fit(x, sample_weight=np.full(60, 2.5))
    np.testing.assert_array_equal(plain.transform(x), even.transform(x))
    more = np.concatenate([x, 100 + real(7)])
    none = rp.VariationalAutoencoder(2, **fit).fit(more, sample_weight=np.repeat([1.0, 0.0], [60, 7]))
    np.testing.assert_array_equal(plain.transform(x), none.transform(x))
    for bad, words in (([0.0] * 60, "all weights are zero"), ([-1.0] * 60, "at least zero"), ([1.0] * 3, "shape")):
        with pytest.raises(ValueError, match=words):
            rp.VariationalAutoencoder(2, **fit).fit(x, sample_weight=bad)


def test_a_pass_by_weights_reads_each_row_as_often_as_its_weight_says():
    """n w / Σ w of 40 rows, each rounded up or down; over 400 passes the means agree to 5 standard errors."""
    weights = np.random.default_rng(0).exponential(size=40)
    data = rp.Dataset(np.zeros((40, 1)), weights=weights)
    orders = [data.order(torch.Generator().manual_seed(i)) for i in range(400)]
    counts = np.stack([np.bincount(o.numpy(), minlength=40) for o in orders])
    wanted = 40 * weights / weights.sum()
    assert (np.abs(counts - wanted) < 1).all()
    assert (np.abs(counts.mean(0) - wanted) < 5 * 0.5 / np.sqrt(400)).all()


# scores


def test_the_score_of_a_linear_model_is_the_density_of_its_normal_distribution():
    """In the data's own units, computed apart from the model's code; "exact" to rounding, importance sampling within
    error: the mean of 40 rows with their own noise, 5 standard errors, one failure in 10^6."""
    x = real() * [1, 100, 0.01, 1]
    e = tiny(hidden=(), epochs=40, score_method="exact").fit(x)
    truth = multivariate_normal(*linear_model(e)).logpdf(x)
    np.testing.assert_allclose(e.score_samples(x), truth, atol=1e-8)
    sampled = e.set_params(score_method="importance", score_k=3000).log_likelihood(x)
    gaps = sampled.per_datum.numpy() - truth
    assert abs(gaps.mean()) < 5 * np.sqrt((1 / sampled.ess.numpy()).sum()) / len(x)
    assert e.score(x) == pytest.approx(truth.mean(), abs=0.05)


@pytest.mark.thorough
def test_a_linear_model_learns_the_density_of_linear_gaussian_data():
    """Held-out log p(x) of maximum likelihood lies below the truth by about p / 2N = 0.006 nats, p = 24 parameters and
    N = 2000; training within 0.04 of it. Rows of the truth and the model are the same, so their difference is compared.
    """
    rng = np.random.default_rng(0)
    w, noise = rng.normal(size=(6, 2)), np.array([0.5, 0.7, 1.0, 0.4, 0.9, 0.6])
    x = rng.normal(size=(4000, 2)) @ w.T + rng.normal(size=(4000, 6)) * noise + 3
    e = rp.VariationalAutoencoder(2, hidden=(), posterior="full", random_state=0, epochs=80, lr=0.01)
    e.set_params(score_method="exact", validation=0.0).fit(x[:2000])
    truth = multivariate_normal(np.full(6, 3.0), w @ w.T + np.diag(noise**2)).logpdf(x[2000:])
    gap = truth - e.score_samples(x[2000:])
    assert -5 * gap.std() / math.sqrt(len(gap)) < gap.mean() < 0.05


def test_scores_are_densities_per_unit_of_the_data():
    """Data in other units, log p lower by the logarithm of each: powers of two keep every bit of the arithmetic."""
    x, units = real(), np.array([1024.0, 0.5, 1.0, 2.0**-20])
    one, other = (tiny(hidden=(), score_method="exact").fit(each) for each in (x, x * units))
    np.testing.assert_allclose(one.score_samples(x), other.score_samples(x * units) + np.log(units).sum(), atol=1e-9)
    np.testing.assert_array_equal(one.transform(x), other.transform(x * units))


@pytest.mark.filterwarnings("ignore:.*two values only")
def test_a_mixed_model_is_a_density_over_real_and_binary_columns_together():
    """Σ over the binary column of ∫ over the real one is 1: quadrature over 1-d latents, midpoints on 16 deviations."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=80), rng.integers(0, 2, 80)], 1)
    e = tiny(1, epochs=20, score_method="exact").fit(x)
    assert e.likelihood_ == ("gaussian", "bernoulli")
    points = np.linspace(-8, 8, 200, endpoint=False) + 0.04
    grid = np.concatenate([np.stack([points, np.full(200, b)], 1) for b in (0.0, 1.0)])
    assert np.exp(e.score_samples(grid)).sum() * 0.08 == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("codes", ["mean", "sample"])
@pytest.mark.parametrize("x", [real(), binary(), counts()], ids=["real", "binary", "counts"])
def test_no_row_depends_on_the_rows_beside_it(x, codes):
    e = tiny(codes=codes).fit(x)
    order = np.random.default_rng(1).permutation(len(x))[:20]
    for method in (e.score_samples, e.transform, e.reconstruct):
        np.testing.assert_allclose(method(x[order]), method(x)[order], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(method(x[3:4]), method(x)[3:4], rtol=1e-10, atol=1e-12)


def test_scores_repeat_and_rise_with_k():
    x = real()
    e = tiny().fit(x)
    np.testing.assert_array_equal(e.score_samples(x), e.score_samples(x))
    assert e.set_params(score_k=2).score(x) < e.set_params(score_k=2000).score(x)
    assert e.log_likelihood(x).k == 2000


# randomness


def states():
    _, words, *rest = np.random.get_state()  # noqa: NPY002 (the one that must not move)
    return words.tobytes(), rest, torch.get_rng_state().tolist()  # Python's own is moved by the type checks of tests


def test_equal_random_states_give_equal_bits_and_the_global_generators_stay():
    x, before = real(), states()
    one, other, third = tiny().fit(x), tiny().fit(x), tiny(random_state=1).fit(x)
    for method in ("score_samples", "transform", "reconstruct"):
        np.testing.assert_array_equal(getattr(one, method)(x), getattr(other, method)(x))
        assert (getattr(one, method)(x) != getattr(third, method)(x)).any()
    np.testing.assert_array_equal(one.sample(5), other.sample(5))
    one.set_params(codes="sample").transform(x)
    tiny(random_state=None).fit(x).partial_fit(x).sample(3)
    assert states() == before


def test_training_borrows_threads_and_gives_them_back():
    torch.set_num_threads(2)
    tiny().fit(real())
    assert torch.get_num_threads() == 2


def test_a_random_state_object_moves_on_and_none_differs_each_time():
    x = real()
    rng = np.random.RandomState(0)
    one, other = tiny(random_state=rng).fit(x), tiny(random_state=rng).fit(x)
    assert one.seed_ != other.seed_
    again = np.random.RandomState(0)
    assert tiny(random_state=again).fit(x).seed_ == one.seed_
    assert len({tiny(random_state=None).fit(x).seed_ for _ in range(3)}) == 3


def test_samples_follow_the_model():
    """Means and variances of 20000 rows against the closed form, 5 standard errors: one failure in 10^5."""
    x = real()
    e = tiny(hidden=(), epochs=30).fit(x)
    mean, cov = linear_model(e)
    drawn = e.sample(20000)
    z = (drawn.mean(0) - mean) / np.sqrt(np.diag(cov) / 20000)
    assert np.abs(z).max() < 5
    assert np.abs(drawn.var(0) / np.diag(cov) - 1).max() < 5 * math.sqrt(2 / 20000)


def test_sampled_codes_follow_the_posterior():
    """(z - mean) / deviation is standard normal: 2000 numbers, mean and variance within 5 standard errors."""
    x = real(1000)
    e = tiny(codes="sample").fit(x)
    q = e.vae_.posterior(torch.from_numpy(x))
    z = ((torch.from_numpy(e.transform(x)) - q.mean) / q.stddev).flatten().detach().numpy()
    assert abs(z.mean()) < 5 / math.sqrt(len(z))
    assert abs(z.var() - 1) < 5 * math.sqrt(2 / len(z))


# pickling


def modules_in(pickled):
    """The first part of the names of all that unpickling would import."""
    names, texts = set(), []
    for op, value, _ in pickletools.genops(pickled):
        if op.name == "GLOBAL":
            names.add(value.split(" ")[0])
        if op.name == "STACK_GLOBAL":
            names.add(texts[-2])
        if isinstance(value, str):
            texts.append(value)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("params", "x"),
    [({}, real()), ({"prior": "vamp"}, real()), ({"dtype": "float32"}, counts()), ({"recipe": "vq_vae"}, real()),
     ({"likelihood": ("gaussian", "laplace", "gaussian", "student_t")}, real())],
    ids=str,
)  # fmt: skip
def test_a_pickled_estimator_is_the_same_to_the_bit_and_no_torch_object(params, x):
    e = tiny(**params).fit(x).partial_fit(x)
    pickled = pickle.dumps(e)
    assert modules_in(pickled) <= {"reparam", "numpy", "builtins", "copyreg"}
    for twin in (pickle.loads(pickled), copy.deepcopy(e)):  # noqa: S301 (one's own bytes)
        for method in ("score_samples", "transform", "reconstruct"):
            np.testing.assert_array_equal(getattr(twin, method)(x), getattr(e, method)(x))
        np.testing.assert_array_equal(twin.sample(4), e.sample(4))
        assert twin.vae_ is not e.vae_
        continued = copy.deepcopy(e).partial_fit(x)  # with Adam's moments
        np.testing.assert_array_equal(twin.partial_fit(x).transform(x), continued.transform(x))


def test_the_bytes_of_a_model_are_those_of_a_saved_one_and_refused_when_altered(tmp_path):
    vae = tiny().fit(real()).vae_
    content = to_bytes(vae)
    rp.save(vae, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == content
    back = from_bytes(content)
    for name, t in vae.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], t, rtol=0, atol=0)
    for at in range(0, len(content), 97):
        refused(lambda at=at: from_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]), "saved model",
                kinds=(RunFolderError,))  # fmt: skip
        refused(lambda at=at: from_bytes(content[:at]), "saved model", kinds=(RunFolderError,))


def test_an_unfitted_estimator_pickles_and_clones():
    e = tiny(options={"rank": 3}, objective=rp.objectives.IWAE(3))
    twin = clone(pickle.loads(pickle.dumps(e)))  # noqa: S301
    assert repr(twin.get_params()) == repr(e.get_params())
    with pytest.raises(NotFittedError):
        twin.transform(real())


# training


def test_pieces_go_on_with_one_optimiser():
    """Its count of steps is that of all pieces, and the model is as good as one that saw them at once as often."""
    x = real(256)
    e, pieces = tiny(batch_size=32, score_k=300), np.split(x, 4)
    for _ in range(30):
        for piece in pieces:
            e.partial_fit(piece)
    assert {float(t) for name, t in e._moments.items() if name.endswith("step")} == {30 * 8.0}
    at_once = tiny(batch_size=32, score_k=300, epochs=30, validation=0).fit(x)
    assert e.score(x) == pytest.approx(at_once.score(x), abs=0.1)
    refused(lambda: e.partial_fit(x[:, :3]), "3 features", kinds=(ValueError,))


def test_warm_start_goes_on_where_training_was():
    x = real(200)
    e = tiny(epochs=10, warm_start=True).fit(x)
    model, first = e.vae_, e.score(x)
    assert e.fit(x).vae_ is model
    assert e.score(x) > first
    refused(lambda: e.set_params(latent_dim=3).fit(x), "latent_dim is 2, not 3", "warm_start=False")
    assert e.set_params(warm_start=False).fit(x).vae_ is not model
    assert e.transform(x).shape == (200, 3)


def test_training_stops_early_and_keeps_the_best_epoch():
    x = real(80)
    e = tiny(epochs=400, patience=5, lr=0.03, validation=0.3).fit(x)
    assert e.history_.stopped == "early"
    assert e.history_.best_epoch == len(e.history_) - 5
    assert len(tiny(epochs=12, patience=None).fit(x).history_) == 12
    assert "validation_objective" not in tiny(validation=0).fit(x).history_.records[0]


def test_an_interrupt_ends_training_and_leaves_a_fitted_estimator(monkeypatch):
    def interrupted(*args, **options):
        return rp.fit(*args, **options, on_epoch=lambda record: signal.raise_signal(signal.SIGINT))

    monkeypatch.setattr(autoencoder, "fit", interrupted)
    e = tiny(epochs=50)
    with pytest.raises(KeyboardInterrupt):
        e.fit(real())
    assert len(e.history_) == 1
    assert np.isfinite(e.score(real()))


def test_a_fit_that_fails_leaves_the_estimator_as_it_was(monkeypatch):
    def failing(vae, *args, **options):
        with torch.no_grad():
            for weight in vae.parameters():
                weight.zero_()
        raise FloatingPointError("not finite")

    x = real()
    e = tiny(likelihood="bernoulli")
    refused(lambda: e.fit(x), "Bernoulli explains values that are")
    with pytest.raises(NotFittedError):
        e.transform(x)
    e = tiny(warm_start=True, epochs=2).fit(x)
    before = e.transform(x)
    monkeypatch.setattr(autoencoder, "fit", failing)
    for method in (e.fit, e.partial_fit, e.set_params(warm_start=False).fit):
        with pytest.raises(FloatingPointError, match="not finite"):
            method(np.vstack([x, x]))
    np.testing.assert_array_equal(e.transform(x), before)


def test_verbose_says_what_was_chosen(capsys):
    tiny(verbose=True).fit(counts())
    out = capsys.readouterr()
    assert out.out == "likelihood negative_binomial: whole numbers from 0 whose variance is above their mean: counts\n"
    tiny().fit(counts())
    assert capsys.readouterr() == ("", "")


# choices


@pytest.mark.parametrize(
    ("x", "likelihood"),
    [
        (binary(), "bernoulli"),
        (counts(), "negative_binomial"),
        (real(), "gaussian"),
        (np.rint(10 * real()), "gaussian"),
        (np.random.default_rng(0).random((40, 3)), "continuous_bernoulli"),
        (load_digits().data / 16, "continuous_bernoulli"),
        (load_digits().data, "negative_binomial"),
        (MinMaxScaler().fit_transform(real()), "gaussian"),
        (np.hstack([real(), binary()]), ("gaussian",) * 4 + ("bernoulli",) * 4),
        (np.hstack([MinMaxScaler().fit_transform(real()), binary()]), ("gaussian",) * 4 + ("bernoulli",) * 4),
    ],
)
def test_auto_reads_the_data_and_says_why(x, likelihood):
    e = tiny(epochs=1).fit(x)
    assert e.likelihood_ == likelihood
    assert "likelihood" in e.likelihood_reason_
    assert np.isfinite(e.score(x))


@pytest.mark.filterwarnings("ignore:.*never change", "ignore:.*two values only")
def test_constants_are_categories_beside_binary_columns_and_real_numbers_elsewhere():
    x, zero = real(), np.zeros((60, 1))
    assert tiny().fit(np.hstack([x, zero])).likelihood_ == "gaussian"
    assert tiny().fit(np.hstack([x, zero, binary()])).likelihood_ == ("gaussian",) * 4 + ("bernoulli",) * 5
    digits = load_digits().data
    pipe = make_pipeline(StandardScaler(), tiny()).fit(digits[:300])
    assert np.isfinite(pipe.transform(digits[300:])).all()


def test_a_column_of_two_values_in_place_of_a_density_is_named():
    frame = load_diabetes(as_frame=True).data
    with pytest.warns(UserWarning, match="column 'sex' has two values only"):
        tiny().fit(frame)
    tiny(options={"scale": 0.1}).fit(frame)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"likelihood": "gausian"}, ["unknown likelihood 'gausian'", "'gaussian'"]),
        ({"likelihood": ("gaussian",)}, ["1 likelihoods", "one for each column"]),
        ({"likelihood": ("gaussian", "gauss", "gaussian", "gaussian")}, ["unknown likelihood of a column 'gauss'"]),
        ({"posterior": "diag"}, ["unknown posterior"]),
        ({"posterior": "vmf", "prior": "standard_normal"}, ["vmf", "do not go together"]),
        ({"recipe": "betavae"}, ["unknown recipe", "'beta_vae'"]),
        ({"recipe": "beta_vae", "beta": 2.0}, ["brings its own objective", "leave out objective, k and beta"]),
        ({"recipe": "wae", "posterior": "full"}, ["brings the posterior point"]),
        ({"objective": "elbow"}, ["unknown objective", "'elbo'"]),
        ({"objective": "iwae", "beta": 2.0}, ["beta weighs the KL of elbo"]),
        ({"objective": rp.objectives.ELBO(), "k": 3}, ["give them to the objective itself"]),
        ({"options": {"activatoin": "relu"}}, ["takes no 'activatoin'"]),
        ({"options": {"hidden": (3,)}}, ["hidden is a parameter of its own"]),
        ({"activation": "sillu"}, ["unknown activation", "'silu'"]),
        ({"options": {"dispersion": 1.0}}, ["has no dispersion"]),
        ({"latent_dim": 0}, ["at least 1"]),
        ({"hidden": (0,)}, ["hidden sizes"]),
        ({"epochs": 0}, ["epochs"]),
        ({"validation": 1.5}, ["validation"]),
        ({"random_state": -1}, ["random_state"]),
        ({"random_state": "no"}, ["random_state"]),
        ({"dtype": "float16"}, ["unknown dtype"]),
    ],
    ids=str,
)
def test_what_makes_no_model_is_refused_in_one_line(params, words):
    refused(lambda: tiny(**params).fit(real()), *words)


def test_what_makes_no_codes_or_samples_is_refused_in_one_line():
    x = binary()
    e = tiny().fit(x)
    refused(lambda: e.sample(0), "at least 1")
    refused(lambda: e.inverse_transform(np.zeros((3, 5))), "(rows, 2)", "(3, 5)")
    refused(lambda: e.inverse_transform(np.full((3, 2), np.nan)), "not all finite")
    for method in (e.score_samples, e.reconstruct, e.transform):
        refused(lambda method=method: method(x + 0.5), "Bernoulli", "row 0")
    refused(lambda: e.set_params(codes="mode").transform(x), "unknown codes")
    refused(lambda: e.set_params(score_method="guess").score(x), "unknown method")
    refused(lambda: tiny(recipe="annealed_vae").partial_fit(x), "use fit")


# among the tools of scikit-learn


def test_codes_go_back_to_reconstructions():
    x = load_breast_cancer().data[:100]
    e = tiny().fit(x)
    np.testing.assert_allclose(e.inverse_transform(e.transform(x)), e.reconstruct(x), rtol=1e-9)


def test_in_a_grid_with_processes_the_scores_are_those_without():
    x = load_breast_cancer().data[:150]
    grid = {"vae__latent_dim": np.arange(1, 3), "vae__beta": np.array([1.0, 4.0])}
    pipe = make_pipeline(StandardScaler(), tiny())
    pipe.steps[-1] = ("vae", pipe[-1])
    one, two = (GridSearchCV(pipe, grid, cv=2, n_jobs=n).fit(x) for n in (None, 2))
    np.testing.assert_allclose(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"], rtol=1e-9)
    assert np.isfinite(one.cv_results_["mean_test_score"]).all()
    np.testing.assert_allclose(two.best_estimator_.transform(x), one.best_estimator_.transform(x), rtol=1e-9)


def frame(library):
    rng = np.random.default_rng(0)
    columns = {"age": rng.normal(40, 9, 60), "size": rng.lognormal(0, 1, 60), "city": rng.choice(list("abc"), 60)}
    return pytest.importorskip(library).DataFrame(columns)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_have_names_in_frames(library):
    table = frame(library)
    e = tiny().set_output(transform=library)
    codes = e.fit_transform(table[["age", "size"]])
    assert type(codes).__module__.startswith(library)
    assert list(codes.columns) == ["variationalautoencoder0", "variationalautoencoder1"]
    assert list(e.feature_names_in_) == ["age", "size"]
    assert list(e.get_feature_names_out()) == list(codes.columns)
    both = ColumnTransformer([("vae", tiny(), ["age", "size"]), ("kept", "passthrough", ["age"])])
    assert list(both.set_output(transform=library).fit_transform(table).columns) == [
        "vae__variationalautoencoder0", "vae__variationalautoencoder1", "kept__age",
    ]  # fmt: skip


def test_behind_one_hot_columns_each_column_has_its_own_likelihood():
    table = frame("pandas")
    columns = ColumnTransformer(
        [("real", StandardScaler(), ["age", "size"]), ("kind", OneHotEncoder(sparse_output=False), ["city"])]
    )
    pipe = make_pipeline(columns, tiny())
    assert np.isfinite(pipe.fit(table).score(table))
    assert pipe[-1].likelihood_ == ("gaussian",) * 2 + ("bernoulli",) * 3
    assert set(np.unique(pipe[-1].sample(50)[:, 2:])) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "params",
    [{"posterior": "point"}, {"posterior": "flow"}, {"posterior": "vmf"}, {"prior": "mixture"}, {"objective": "iwae"},
     {"objective": rp.objectives.IWAE(2)}, {"recipe": "ladder_vae"}, {"recipe": "wae"}, {"recipe": "iwae"},
     {"recipe": "beta_vae", "options": {"beta": 2.0}}, {"options": {"scale": "predicted"}},
     {"posterior": "lowrank", "options": {"rank": 1, "residual": True}}],
    ids=str,
)  # fmt: skip
def test_every_kind_of_model_fits_scores_and_goes_back(params):
    x = real()
    e = tiny(**params).fit(x)
    z = e.transform(x)
    assert np.isfinite(e.score(x))
    assert e.inverse_transform(z).shape == x.shape
    assert z.shape[1] == len(e.get_feature_names_out())


def test_a_missing_extra_is_named_and_the_rest_of_the_library_works():
    code = """
import sys
sys.modules["sklearn"] = None
import reparam as rp
rp.VAE
try:
    rp.VariationalAutoencoder
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    expected = "MissingExtraError VariationalAutoencoder needs the package 'sklearn': pip install 'reparam[sklearn]'\n"
    assert done.stdout == expected
