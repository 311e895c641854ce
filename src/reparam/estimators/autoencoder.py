"""The variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam import evaluate, recipes, seeding
from reparam.data import Dataset
from reparam.errors import InputError, nearest, require
from reparam.estimators.build import build, choose_likelihood, objective_of, warn_of_atoms
from reparam.estimators.randomness import derived, seed_of
from reparam.estimators.safe_state import SafeState
from reparam.evaluate.draws import evaluating
from reparam.objectives import Objective
from reparam.posteriors import Point
from reparam.train import fit, make, moments, put_moments, threads, threads_for
from reparam.vae import reference

require("sklearn", "sklearn", "VariationalAutoencoder")
from sklearn.base import (  # noqa: E402 (after the error that names the extra)
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_ROWS = 4096  # decoded at a time
# What a model is made of: with warm_start these must be as they were.
_MODEL = ("latent_dim", "likelihood", "posterior", "prior", "recipe", "hidden", "activation", "options", "dtype")


class VariationalAutoencoder(SafeState, ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """A variational autoencoder for tables, with scikit-learn's interface: a transformer and a density estimator.

    ``transform`` gives the codes of rows, ``inverse_transform`` and ``reconstruct`` go back, ``sample`` draws new rows,
    and ``score_samples`` gives log p(x) of each row: nats, per unit of the data as they were given (columns are
    standardised inside the model, and the density accounts for it), so that models with different preprocessing inside
    can be compared by ``score``, their mean. It is the importance-weighted estimate of Burda et al. (2016, eq. 8) with
    ``score_k`` samples, a lower bound in expectation that rises with ``score_k``; a score depends on the model, the row
    and ``score_k`` alone.

    Parameters
    ----------
    latent_dim : int
        Dimensions of a code z.
    likelihood : str or sequence of str
        p(x|z), a name of ``rp.recipes.LIKELIHOODS``, one such name for each column, or "auto": by the values of X
        "bernoulli" (0 and 1), "continuous_bernoulli" (between 0 and 1), "negative_binomial" (whole numbers from 0 whose
        variance is above their mean) or "gaussian", with "bernoulli" for columns of 0 and 1 among real ones.
        ``likelihood_`` and ``likelihood_reason_`` say which and why.
    posterior, prior : str
        q(z|x) and p(z), names of ``rp.recipes.POSTERIORS`` and ``PRIORS``. A prior of None goes with the posterior.
    recipe : str or None
        A model of a paper with its objective, a name of ``rp.recipes.RECIPES``.
    hidden : tuple of int
        Sizes of the encoder's hidden layers, mirrored in the decoder; () for linear maps.
    activation : str
        "silu", "relu", "tanh", "gelu", "elu" or "softplus".
    options : dict or None
        Further options of ``rp.recipes.vae`` or of the recipe, such as {"scale": 0.1, "residual": True}.
    objective : str or Objective
        "auto" ("elbo", or "reconstruction" where the posterior is "point"), "elbo", "iwae", "reconstruction", or one of
        ``rp.objectives``.
    k, beta : int or None, float
        Samples of z in the objective (1, or 5 for "iwae"), and the weight of the KL in "elbo".
    epochs, batch_size, lr : int, int, float
        Passes over the data at most, rows in a step, and the learning rate of Adam.
    validation : float
        Share of the rows held out to choose the best epoch, 0 for none.
    patience : int or None
        Stop after so many epochs without a better validation objective; None never stops early.
    codes : str
        What ``transform`` gives: the "mean" of q(z|x), or a "sample" of it, which row and random_state decide.
    score_method : str
        How log p(x) is estimated: a method of ``rp.evaluate.log_likelihood``, or "auto": "importance", or "prior" where
        the posterior is "point".
    score_k : int or None
        Samples of z for each row; None takes the method's usual number.
    dtype : str
        "auto" computes in the dtype of X, as scikit-learn does; "float32" is much faster on wide data.
    warm_start : bool
        Whether ``fit`` goes on with the present model.
    random_state : int, RandomState or None
        Decides all randomness. numpy's and torch's global generators are neither read nor moved.
    verbose : bool
        Whether to say what was chosen, on standard output, and how training goes, on standard error.

    Attributes
    ----------
    vae_ : VAE
        The model, for everything else that reparam does with one.
    likelihood_ : str or tuple of str
        The likelihood, or that of each column.
    likelihood_reason_ : str
        Why it was chosen.
    history_ : History
        The epochs of the last training.
    n_features_in_, feature_names_in_
        Those of X.
    """

    def __init__(
        self,
        latent_dim: int = 10,
        *,
        likelihood: str | Sequence[str] = "auto",
        posterior: str = "diagonal",
        prior: str | None = None,
        recipe: str | None = None,
        hidden: Sequence[int] = (128,),
        activation: str = "silu",
        options: dict[str, Any] | None = None,
        objective: str | Objective = "auto",
        k: int | None = None,
        beta: float = 1.0,
        epochs: int = 500,
        batch_size: int = 64,
        lr: float = 3e-3,
        validation: float = 0.1,
        patience: int | None = 30,
        codes: str = "mean",
        score_method: str = "auto",
        score_k: int | None = 1000,
        dtype: str = "auto",
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior = prior
        self.recipe = recipe
        self.hidden = hidden
        self.activation = activation
        self.options = options
        self.objective = objective
        self.k = k
        self.beta = beta
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation = validation
        self.patience = patience
        self.codes = codes
        self.score_method = score_method
        self.score_k = score_k
        self.dtype = dtype
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> VariationalAutoencoder:
        """Train on the rows of X (n_samples, n_features), as if each stood there ``sample_weight`` times.

        In each pass a row is read as often as its weight over the mean weight says, rounded up or down at random with
        this mean; a row of weight 0 plays no part.

        Ctrl-C ends training after the step at hand with KeyboardInterrupt; the estimator is then fitted. A call that
        raises anything else leaves the estimator as it was.

        Raises:
            InputError: a ValueError, for parameters or data that cannot be used.
            NonFiniteError: if training diverges, naming what to try.
        """
        again = bool(self.warm_start) and self.__sklearn_is_fitted__()
        params = self._params()
        with self._as_it_was_unless_done():
            data = self._weighed(self._data(X, reset=not again, training=True), sample_weight)
            if again:
                self._check_same_model(params)
            else:
                self._start(data, params)
            self._train(data, params, params["epochs"], params["validation"] or None)
        return self._unless_interrupted()

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> VariationalAutoencoder:
        """Train by one pass over the rows of X, a piece of the data; with what Adam has learned from those before.

        The first piece decides likelihood, units and columns: let it be a fair share of the data. No rows are held out.
        ``sample_weight`` is as in :meth:`fit`, among the rows of the piece.

        Raises:
            InputError: as ``fit``; also for a recipe whose weights change over a run, as pieces have no known end.
        """
        first = not self.__sklearn_is_fitted__()
        params = self._params()
        with self._as_it_was_unless_done():
            data = self._weighed(self._data(X, reset=first, training=True), sample_weight)
            if first:
                self._start(data, params)
            if self._objective(params).schedules():
                raise InputError(
                    "the weights of this objective change over a run, and pieces have no known end: use fit"
                )
            self._train(data, params, 1, None, keep=True)
        return self._unless_interrupted()

    def transform(self, X: Any) -> np.ndarray:
        """The codes of the rows, (n_samples, latent dimensions): see ``codes``."""
        check_is_fitted(self)
        if self.codes not in ("mean", "sample"):
            raise InputError(f"unknown codes {self.codes!r}: {nearest(str(self.codes), ('mean', 'sample'))}")
        data = self._data(X)
        return evaluate.encode(self.vae_, data, self.seed_, sample=self.codes == "sample").cpu().numpy()

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The mean of p(x|z) for codes X (n_samples, latent dimensions), in the units of the data.

        Raises:
            InputError: for codes of another number of dimensions.
        """
        check_is_fitted(self)
        z = np.asarray(X, dtype=self._dtype)
        if z.ndim != 2 or z.shape[1] != self._n_features_out or not np.isfinite(z).all():
            more = "" if np.isfinite(z).all() else " and are not all finite"
            raise InputError(
                f"codes are finite numbers of shape (rows, {self._n_features_out}), as transform gives them; these "
                f"have shape {z.shape}{more}"
            )
        return self._by_parts(torch.tensor(z), self.vae_.decode)

    def reconstruct(self, X: Any) -> np.ndarray:
        """The mean of p(x|z) at the code of each row, (n_samples, n_features), in the units of the data."""
        check_is_fitted(self)
        data = self._data(X)
        self.vae_.check(data.x.to(reference(self.vae_)), columns=data.columns)
        return self._by_parts(data.x, self.vae_.reconstruct)

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row, (n_samples,), in nats, by ``score_method`` with ``score_k`` samples."""
        check_is_fitted(self)
        return self.log_likelihood(X).per_datum.numpy().astype(self._dtype)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of ``score_samples``: log p(x) in nats per row."""
        check_is_fitted(self)
        return self.log_likelihood(X).value

    def log_likelihood(self, X: Any) -> evaluate.Estimate:
        """log p(x) with all that is known of the estimate: standard error, method, k, and how good its weights were."""
        check_is_fitted(self)
        data, params = self._data(X), self._params()
        method = params["score_method"]
        if method == "auto":
            method = "prior" if isinstance(self.vae_.posterior, Point) else "importance"
        return evaluate.log_likelihood(self.vae_, data, params["score_k"], method, self.seed_)

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> np.ndarray:
        """New rows from the model, (n_samples, n_features): z from p(z) and x from p(x|z).

        ``random_state`` is the estimator's unless given: a number gives the same rows at each call.

        Raises:
            InputError: for n_samples below 1.
        """
        check_is_fitted(self)
        seed = seed_of(self.random_state if random_state is None else random_state)
        if isinstance(n_samples, bool) or not isinstance(n_samples, int | np.integer) or n_samples < 1:
            raise InputError(f"n_samples must be a whole number of at least 1, not {n_samples!r}")
        sizes = [min(_ROWS, int(n_samples) - i) for i in range(0, int(n_samples), _ROWS)]
        with seeding.seeded(derived(seed, 0)), evaluating(self.vae_):
            return torch.cat([self.vae_.sample(n) for n in sizes]).cpu().numpy()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vae_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"] if self.dtype == "auto" else [self.dtype]
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.vae_.prior().event_shape[-1])

    @property
    def _dtype(self) -> str:
        return str(reference(self.vae_).dtype).removeprefix("torch.")

    def _params(self) -> dict[str, Any]:
        """The parameters as Python's own numbers: a grid of numpy's arrays gives numpy's."""
        params = {n: v.item() if isinstance(v, np.generic) else v for n, v in self.get_params(deep=False).items()}
        hidden = params["hidden"]
        return params | {"hidden": tuple(np.atleast_1d(hidden).tolist()) if hidden is not None else ()}

    def _data(self, X: Any, reset: bool = False, training: bool = False) -> Dataset:
        """X as data of the model, with the names of its columns for messages."""
        x = validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], ensure_min_samples=2 if training else 1
        )  # fmt: skip
        names = getattr(self, "feature_names_in_", None)
        return Dataset(x, columns=None if names is None else [str(name) for name in names])

    @staticmethod
    def _weighed(data: Dataset, weights: Any) -> Dataset:
        """The data with these weights, without rows of weight 0."""
        if weights is None:
            return data
        w = np.asarray(weights, dtype=np.float64)
        given = Dataset(data.x, columns=data.columns, weights=np.full(len(data), w) if w.ndim == 0 else w)
        return given[(w > 0).nonzero()[0]] if w.ndim else given

    def _start(self, data: Dataset, params: dict[str, Any]) -> None:
        """A fresh model for these data."""
        if self.dtype not in ("auto", *_DTYPES):
            raise InputError(f"unknown dtype {self.dtype!r}: {nearest(str(self.dtype), ('auto', *_DTYPES))}")
        asked = recipes.CHOICES.get(str(self.recipe), {}).get("likelihood", self.likelihood)
        choice, seed = choose_likelihood(data.x.numpy(), asked), seed_of(self.random_state)
        made = build(params, choice.likelihood, data, _DTYPES.get(self.dtype, data.x.dtype), seed)
        if self.verbose:
            print(choice.reason)
        warn_of_atoms(data, choice.likelihood, made.vae)
        self.likelihood_, self.likelihood_reason_ = choice
        self.vae_, self.seed_ = made.vae, seed
        self._recipe_objective = None if self.recipe is None else made.objective
        self._made_of = {name: params[name] for name in _MODEL}
        self._trainings = 0
        self._moments: dict[str, Tensor] = {}

    def _objective(self, params: dict[str, Any]) -> Objective:
        """The recipe's own, or that of the present parameters."""
        return self._recipe_objective or objective_of(params)

    def _check_same_model(self, params: dict[str, Any]) -> None:
        for name, was in self._made_of.items():
            if (now := params[name]) != was:
                raise InputError(
                    f"warm_start goes on with the present model, whose {name} is {was!r}, not {now!r}: set "
                    "warm_start=False to start anew"
                )

    def _train(
        self, data: Dataset, params: dict[str, Any], epochs: int, share: float | None, keep: bool = False
    ) -> None:  # fmt: skip
        optimizer = make("adam", self.vae_, 1e-3)
        if keep:
            put_moments(optimizer, self._moments)
        with threads(threads_for(self.vae_, params["batch_size"])):
            self.history_ = fit(
                self.vae_, data, objective=self._objective(params), epochs=epochs, batch_size=params["batch_size"],
                lr=params["lr"], seed=derived(self.seed_, self._trainings) if self._trainings else self.seed_,
                validation=share, patience=params["patience"] if share else None, progress=bool(self.verbose),
                optimizer=optimizer,
            )  # fmt: skip
        self._trainings += 1
        self._moments = moments(optimizer) if keep else {}

    @contextmanager
    def _as_it_was_unless_done(self) -> Iterator[None]:
        before = self.__dict__.copy()
        weights = {n: t.clone() for n, t in self.vae_.state_dict().items()} if self.__sklearn_is_fitted__() else {}
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            if weights:
                self.vae_.load_state_dict(weights)
                self.vae_.eval()
            raise

    def _unless_interrupted(self) -> VariationalAutoencoder:
        if self.history_.stopped == "interrupted":
            raise KeyboardInterrupt("training was interrupted; the estimator is fitted by what was done until then")
        return self

    def _by_parts(self, x: Tensor, give: Callable[[Tensor], Tensor]) -> np.ndarray:
        with evaluating(self.vae_):
            return torch.cat([give(part.to(reference(self.vae_))) for part in x.split(_ROWS)]).cpu().numpy()
