"""A variational autoencoder of counts of cells, from AnnData or sparse matrices, with batches and library sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam import evaluate, recipes, seeding
from reparam.data import Dataset, Schema, Source, infer, read
from reparam.data.counts import TOTAL, Counting, distinct, is_anndata, of_object
from reparam.data.h5ad import read_genes, write_results
from reparam.errors import InputError, RunFolderError, nearest
from reparam.estimators.parameters import Parameters, epochs_for
from reparam.estimators.safe_state import SafeState
from reparam.evaluate import Estimate
from reparam.evaluate.draws import evaluating
from reparam.run import Run, open_run, save
from reparam.train import History, fit
from reparam.vae import VAE, reference

LATENTS, LAYER = "X_reparam", "reparam"  # where results stand in obsm and in layers
_FEW = 40  # rows of which none are held out
_DECODED = 1 << 24  # elements at a time
_KEPT = ("k", "random_state", "latent_dim", "batch", "layer", "size_factor", "likelihood")


class CountVAE(SafeState, Parameters):
    """A model of counts of cells by genes: negative binomial, with the size of each library and a batch as conditions.

    Counts come as an .h5ad file, an AnnData object, a matrix of scipy, or an array. They stay sparse; rows become dense
    batch by batch, and a file is never read as a dense whole. A cell has the rates s exp(f(z, batch)) with its size
    factor s (Lopez et al. 2018, with observed sizes), so that z is of what is left.

        model = rp.CountVAE(batch="donor").fit("cells.h5ad")
        model.annotate("cells.h5ad", "annotated.h5ad")        # obsm["X_reparam"] and layers["reparam"]

    Parameters
    ----------
    latent_dim, hidden, activation
        Dimensions of z; the sizes of the encoder's hidden layers, mirrored in the decoder; their activation.
    batch : str, sequence of str or None
        Columns of obs that are conditions: a nuisance that the decoder explains, and codes need not.
    layer : str or None
        The layer of the counts, X unless given.
    size_factor : str
        "total", the sum of each cell's counts; a column of obs; or "none". It is divided by its median in training.
    likelihood : str
        "negative_binomial" with a dispersion for each gene, "poisson", or these with "zero_inflated_" before.
    epochs, batch_size, lr, validation, patience
        As in ``rp.fit``. Unless given, there are 20 epochs, or as many as make 4000 to 15000 steps. Rows are held out
        of more than 40.
    k : int
        Samples of z for each row in scores.
    random_state : int
        Decides all randomness: 0 to 2**32 - 1.
    verbose : bool
        Whether training shows its progress.

    Attributes
    ----------
    schema_, vae_, history_
        Genes, conditions and size factors; the model; the epochs of its training.
    """

    def __init__(
        self,
        latent_dim: int = 10,
        *,
        batch: str | Sequence[str] | None = None,
        layer: str | None = None,
        size_factor: str = TOTAL,
        likelihood: str = "negative_binomial",
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
        epochs: int | None = None,
        batch_size: int = 128,
        lr: float = 1e-3,
        validation: float = 0.1,
        patience: int | None = 30,
        k: int = 500,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.batch = batch
        self.layer = layer
        self.size_factor = size_factor
        self.likelihood = likelihood
        self.hidden = hidden
        self.activation = activation
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation = validation
        self.patience = patience
        self.k = k
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, obs: Mapping[str, Any] | None = None, **more: Any) -> CountVAE:
        """Train; ``obs`` are columns by name where X is a matrix, ``more`` options of ``rp.fit``, such as ``out``.

        Raises:
            InputError: for data that are no counts, a cell without any, or a column, layer or option that is none.
            NonFiniteError: if training diverges.
        """
        self._check_whole("k", "batch_size", "latent_dim")
        source = self._source(X, Counting(self.layer, self.size_factor), obs)
        schema, likelihood, _ = infer(source, self.likelihood)
        data = schema.dataset(source)
        if len(data) < 2:
            raise InputError("training needs at least 2 cells; the data have 1")
        contexts = data.contexts[: -1 if schema.exposed else None]
        with seeding.seeded(self.random_state):
            self.vae_: VAE = recipes.vae(
                data.event_shape, self.latent_dim, likelihood=likelihood, hidden=tuple(self.hidden),
                activation=self.activation, exposure=schema.exposed, context=sum(c.shape[1] for c in contexts),
                **recipes.data_options(likelihood, data),
            )  # fmt: skip
        self.schema_ = schema
        share = self.validation or None if len(data) > _FEW else None
        self.history_: History = fit(
            self.vae_, data, epochs=epochs_for(len(data), self.batch_size, self.epochs), batch_size=self.batch_size,
            lr=self.lr, seed=self.random_state, validation=share, patience=self.patience if share else None,
            schema=schema, progress=self.verbose, **more,
        )  # fmt: skip
        return self

    def transform(self, X: Any, *, obs: Mapping[str, Any] | None = None) -> np.ndarray:
        """The mean of q(z|x) of each cell, (cells, latent_dim)."""
        data = self._data(X, obs)
        return evaluate.encode(self.vae_, data, self.random_state).numpy()

    def fit_transform(self, X: Any, y: Any = None, *, obs: Mapping[str, Any] | None = None) -> np.ndarray:
        """``fit``, then ``transform`` of the same counts."""
        return self.fit(X, obs=obs).transform(X, obs=obs)

    def log_likelihood(self, X: Any, k: int | None = None, *, obs: Mapping[str, Any] | None = None) -> Estimate:
        """log p(counts | batch, size factor) in nats, importance-weighted with ``k`` samples: see ``rp.evaluate``."""
        data = self._data(X, obs)
        return evaluate.log_likelihood(self.vae_, data, k or self.k, seed=self.random_state)

    def score_samples(self, X: Any, *, obs: Mapping[str, Any] | None = None) -> np.ndarray:
        """log p of each cell given its batch and size factor, (cells,), in nats; a lower bound in expectation."""
        return np.asarray(self.log_likelihood(X, obs=obs).per_datum.numpy())

    def score(self, X: Any, y: Any = None, *, obs: Mapping[str, Any] | None = None) -> float:
        """The mean of ``score_samples``."""
        return self.log_likelihood(X, obs=obs).value

    def normalize(
        self, X: Any, *, given: Mapping[str, Any] | None = None, obs: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """What a usual library would show, (cells, genes): E[x|z] at the code of each cell with the size factor 1.

        With ``given``, as if all cells were of this batch: {"donor": "a"}. The result is dense: give some cells at a
        time, or use :meth:`annotate` on a file.

        Raises:
            InputError: unless ``given`` has every context, and nothing else.
        """
        data = self._data(X, obs)
        block = expression(self.vae_, self.schema_, data, self._given(given), self.random_state)
        step = max(1, _DECODED // data.event_shape[0])
        return np.concatenate([block(i, min(i + step, len(data))) for i in range(0, len(data), step)])

    def annotate(
        self, X: Any, out: str | Path | None = None, *, layer: bool = True, given: Mapping[str, Any] | None = None
    ) -> Any:
        """Write codes to obsm["X_reparam"] and, with ``layer``, what :meth:`normalize` gives to layers["reparam"].

        An AnnData object is changed in place and returned. Of an .h5ad file, ``out`` is the copy that has them, which
        may be the file itself: the layer is written some cells at a time.

        Raises:
            InputError: for other data, or a layer of a file whose genes are not those of training.
        """
        if is_anndata(X) and not getattr(X, "isbacked", False):
            X.obsm[LATENTS] = self.transform(X)
            if layer:
                self._require_genes([str(g) for g in X.var_names])
                X.layers[LAYER] = self.normalize(X, given=given)
            return X
        path = Path(X.filename) if is_anndata(X) else Path(X) if isinstance(X, str | Path) else None
        if path is None or out is None:
            raise InputError("annotate takes an AnnData object in memory, or an .h5ad file and out, where to write")
        data = self._data(path, None)
        layers: dict[str, tuple[int, Callable[[int, int], np.ndarray]]] = {}
        if layer:
            self._require_genes(read_genes(path))
            block = expression(self.vae_, self.schema_, data, self._given(given), self.random_state)
            layers[LAYER] = (data.event_shape[0], block)
        codes = evaluate.encode(self.vae_, data, self.random_state).numpy()
        write_results(path, Path(out), {LATENTS: codes}, layers)
        return Path(out)

    def sample(
        self, n: int = 1, *, given: Mapping[str, Any] | None = None, random_state: int | None = None
    ) -> np.ndarray:
        """Counts of n new cells of the usual size, (n, genes), of the batch in ``given`` where the model has one.

        Raises:
            InputError: for n below 1, or unless ``given`` has every context.
        """
        self._fitted()
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"the number of samples must be at least 1, not {n!r}")
        c = [t.expand(int(n), -1) for t in self._given(given or {}) or ()]
        with seeding.seeded(self.random_state if random_state is None else random_state), evaluating(self.vae_):
            return self.vae_.sample(int(n), *c).numpy()

    def save(self, folder: str | Path) -> None:
        """Write model, schema and parameters to a folder, which the command reads too; nothing in it is code."""
        self._fitted()
        kept = {n: v for n, v in self.get_params().items() if n in _KEPT and v is not None}
        save(self.vae_, folder, config={"cells": kept}, schema=self.schema_)

    @classmethod
    def load(cls, folder: str | Path) -> CountVAE:
        """The estimator that ``save`` wrote, or the model of ``reparam train`` on an .h5ad file.

        Raises:
            RunFolderError: for a folder that is incomplete, altered, or of no counts.
        """
        return cls.of_run(open_run(folder))

    @classmethod
    def of_run(cls, run: Run) -> CountVAE:
        """The estimator of an opened run: see :meth:`load`."""
        if run.schema is None or run.schema.counting is None:
            raise RunFolderError(f"{run.folder} is not of counts of cells: open it by reparam.load")
        raw = run.config.get("cells", {})
        made = cls(**{n: v for n, v in (raw if isinstance(raw, dict) else {}).items() if n in _KEPT})
        made.batch = [c.name for c in run.schema.contexts or ()] or None
        made.layer, made.size_factor = run.schema.counting.layer, run.schema.counting.size_factor
        made.schema_, made.vae_, made.history_ = run.schema, run.vae.eval(), History([])
        return made

    def _fitted(self) -> None:
        if not hasattr(self, "vae_"):
            raise InputError("this CountVAE is not fitted yet: call fit(counts) first")

    def _names(self) -> list[str]:
        return [self.batch] if isinstance(self.batch, str) else list(self.batch or ())

    def _source(self, X: Any, counting: Counting, obs: Mapping[str, Any] | None) -> Source:
        names = self._names()
        if isinstance(X, str | Path):
            source = read(X, None, names, counting=counting)
            if source.counting is None:
                raise InputError(f"{X} is no .h5ad file: give an array of its counts")
            return source
        given = {n: np.asarray(v) for n, v in (obs or {}).items()}
        asked = [n for n in names if n not in given]
        inner = Counting(counting.layer, TOTAL if counting.column in given else counting.size_factor)
        x, genes, found = of_object(X, inner, asked)
        known = {**found, **{n: given[n] for n in (*names, counting.column) if n in given}}
        short = next((n for n, v in known.items() if len(v) != len(x)), None)
        if short is not None:
            raise InputError(f"column {short!r} has {len(known[short])} values for {len(x)} cells: give one for each")
        columns = distinct(genes if genes is not None else [f"gene{i}" for i in range(x.width)])
        return Source(x, "the data", columns=columns, contexts=known, counting=counting)

    def _data(self, X: Any, obs: Mapping[str, Any] | None) -> Dataset:
        self._fitted()
        assert self.schema_.counting is not None
        return self.schema_.dataset(self._source(X, self.schema_.counting, obs))

    def _given(self, given: Mapping[str, Any] | None) -> tuple[Tensor, ...] | None:
        """The contexts (1, ...) of these conditions, None for each cell's own."""
        if given is None:
            return None
        known = [c.name for c in self.schema_.contexts or ()]
        unknown = next((n for n in given if n not in known), None)
        if unknown is not None:
            raise InputError(f"given: the model has no context {unknown!r}: {nearest(str(unknown), known)}")
        text = ",".join(f"{n}={v}" for n, v in given.items()) if given else None
        return tuple(t.to(reference(self.vae_)) for t in self.schema_.given(text, 1))

    def _require_genes(self, genes: list[str]) -> None:
        require_genes(self.schema_, genes)


def require_genes(schema: Schema, genes: list[str]) -> None:
    """Refuse other genes, or another order, than those of training: a layer has a column for each.

    Raises:
        InputError: if they are.
    """
    if schema.columns != distinct(genes):
        raise InputError("these are not the genes of training in their order, of which a layer would be: use normalize")


def expression(
    vae: VAE, schema: Schema, data: Dataset, given: tuple[Tensor, ...] | None, seed: int
) -> Callable[[int, int], np.ndarray]:
    """A function of (start, stop): E[x|z] of these cells at their codes, size factor 1, (stop - start, genes) float32.

    ``given`` are the contexts (1, ...) of all cells in place of their own.
    """

    def block(start: int, stop: int) -> np.ndarray:
        some = data[start:stop]
        z = evaluate.encode(vae, some, seed)
        own = some.contexts_of(slice(None), reference(vae))
        if schema.exposed:
            own = (*own[:-1], torch.ones_like(own[-1]))
        c = own if given is None else tuple(t.expand(len(some), -1) for t in given)
        with evaluating(vae):
            return vae.decode(z, *c).float().cpu().numpy()

    return block
