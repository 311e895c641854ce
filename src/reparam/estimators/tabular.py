"""A variational autoencoder of DataFrames: mixed types, holes, conditions, in the units of the columns."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reparam import evaluate, recipes, seeding
from reparam.data import Dataset, Schema, frames
from reparam.data.streams import look, rows_of, spill
from reparam.data.table import TableSchema, with_values
from reparam.errors import InputError, RunFolderError, nearest
from reparam.estimators.parameters import Parameters, held_share, passes_for
from reparam.estimators.safe_state import SafeState
from reparam.estimators.tabular_fill import filled_tables, in_units
from reparam.estimators.tabular_posterior import decoded, drawn, multiple, single, surprises
from reparam.estimators.tabular_sample import Quality, sample_rows
from reparam.estimators.tabular_values import number_of
from reparam.evaluate import Estimate
from reparam.run import Run, open_run, save
from reparam.train import History, fit
from reparam.train.checks import split
from reparam.vae import VAE, reference

_REFERENCE = 20_000  # cells whose surprise says what is usual
_REFERENCE_K = 64
_LARGE, _SMALL, _WIDE = 5000, (64,), (128, 128)
_FEW = 40  # rows of which none are held out


class TabularVAE(SafeState, Parameters):
    """A model of the rows of a DataFrame of pandas or polars, as it is: numbers, categories, dates, counts, holes.

    ``fit`` infers what each column holds (``schema_``, see :class:`reparam.data.table.TableSchema`), or takes a
    ``schema`` that was corrected. Missing cells are neither dropped nor filled in: the bound is of what is seen. That
    is right where cells are missing at random, given what is seen of the row; with ``missingness="informative"``
    which cells are missing is modelled too, as further columns, so that it tells of z and thereby of the rest.

    ``score_samples`` gives log p of what is seen of each row, in nats per unit of the columns. All numbers are in
    those units, whatever was standardised inside: models with different schemas of the same columns can be compared.

    Parameters
    ----------
    latent_dim, hidden, activation
        Dimensions of z; the sizes of the encoder's hidden layers, mirrored in the decoder, (64,) for tables of fewer
        than 5000 rows and (128, 128) for others unless given; their activation.
    schema : TableSchema or None
        What the columns hold; inferred unless given.
    kinds : dict or None
        Kinds of columns that are not to be inferred: {"zip": "categorical"}.
    group : str or None
        A column that is no part of the model but a condition of it, such as a batch or a site: a nuisance.
    combinations : list of lists of str
        Categorical columns of which only combinations are sampled that the table has: [["country", "city"]].
    missingness : str
        "random" or "informative".
    unseen : str
        Categories that training never saw: an "error", or "missing".
    train_k : int
        Samples of z in the training bound (IWAE).
    epochs, batch_size, lr, validation, patience
        As in ``rp.fit``. Unless given, of tables of fewer than 2000 rows none are held out, and there are 2000 steps,
        but at most 400 epochs; of others a tenth is held out, and there are 20 epochs, or as many as make 4000 to 15000
        steps. Rows are held out of more than 40 only.
    k : int
        Samples of z for each row in scores, imputations and explanations.
    random_state : int
        Decides all randomness: 0 to 2**32 - 1.
    verbose : bool
        Whether training shows its progress.

    Attributes
    ----------
    schema_, vae_, history_
        The schema, the model, and the epochs of its training.
    """

    def __init__(
        self,
        latent_dim: int = 10,
        *,
        hidden: Sequence[int] | None = None,
        activation: str = "relu",
        schema: TableSchema | None = None,
        kinds: Mapping[str, str] | None = None,
        group: str | None = None,
        combinations: Sequence[Sequence[str]] = (),
        missingness: str = "random",
        unseen: str = "error",
        train_k: int = 20,
        epochs: int | None = None,
        batch_size: int = 128,
        lr: float = 1e-3,
        validation: float | None = None,
        patience: int | None = 30,
        k: int = 500,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.activation = activation
        self.schema = schema
        self.kinds = kinds
        self.group = group
        self.combinations = combinations
        self.missingness = missingness
        self.unseen = unseen
        self.train_k = train_k
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation = validation
        self.patience = patience
        self.k = k
        self.random_state = random_state
        self.verbose = verbose

    _usual: np.ndarray | None = None

    def fit(self, X: Any, y: Any = None, **more: Any) -> TabularVAE:
        """Infer the schema of the table and train; ``more`` are further options of ``rp.fit``, such as ``out``.

        Raises:
            InputError: for a table that cannot be used, naming the column; for fewer than 2 rows.
            NonFiniteError: if training diverges.
        """
        self._check()
        informative = self.missingness == "informative"
        schema = self.schema
        if schema is None:
            schema = TableSchema.of(X, self.kinds, self.group, self.combinations, informative)
        # the numbers of the whole table are not kept beside those of its parts
        return self._train(schema, *self._parted(schema.dataset(X, self.unseen)), **more)

    def fit_parquet(self, path: str | Path, **more: Any) -> TabularVAE:
        """Train on a Parquet file that is larger than memory: see :meth:`fit`.

        The schema is inferred from about 200,000 of its rows, unless it is given. The table is then read by row groups
        and kept as numbers in a temporary file, half the size of float64, from which training reads its batches.
        """
        self._check()
        schema = self.schema
        if schema is None:
            looked = look(path, seed=self.random_state)
            schema = TableSchema.of(
                looked, self.kinds, self.group, self.combinations, self.missingness == "informative"
            )
        with tempfile.TemporaryDirectory(prefix="reparam-") as folder:
            share = self._share(rows_of(path))
            data = spill(path, schema, Path(folder), share, self.random_state)
            if data.unseen:
                warnings.warn(
                    f"{data.unseen} cells have categories that a look at part of the rows did not meet: they are taken "
                    "for missing; give a schema that names them", UserWarning, stacklevel=2,
                )  # fmt: skip
            return self.fit_dataset(schema, data.train, held=data.held, **more)

    def fit_dataset(self, schema: TableSchema, data: Dataset, held: Dataset | None = None, **more: Any) -> TabularVAE:
        """Train on what the schema has made of a table, and of ``held`` rows where they are apart: see :meth:`fit`."""
        return self._train(schema, *((len(data), data, held) if held is not None else self._parted(data)), **more)

    def _parted(self, data: Dataset) -> tuple[int, Dataset, Dataset | None]:
        """The number of rows with values, those to train on, and those held out."""
        data = with_values(data)
        rows = len(data)
        if rows < 2:
            raise InputError(f"training needs at least 2 rows with values; the table has {rows}")
        share = self._share(rows)
        return rows, *(split(data, share, self.random_state) if share and rows > _FEW else (data, None))

    def _train(
        self, schema: TableSchema, rows: int, data: Dataset, held: Dataset | None, **more: Any
    ) -> TabularVAE:  # fmt: skip
        hidden = self.hidden if self.hidden is not None else _SMALL if rows < _LARGE else _WIDE
        with seeding.seeded(self.random_state):
            model, objective = recipes.table_vae(
                schema, self.latent_dim, hidden=hidden, activation=self.activation, k=self.train_k
            )
        self.schema_, self.vae_ = schema, model
        self.history_: History = fit(
            model, data, objective=objective, epochs=self.epochs_for(rows), batch_size=self.batch_size, lr=self.lr,
            seed=self.random_state, validation=held, patience=None if held is None else self.patience,
            schema=Schema.of_table(schema), progress=self.verbose, **more,
        )  # fmt: skip
        self._learn_the_usual(data)
        return self

    def epochs_for(self, rows: int) -> int:
        """How many passes over so many rows are made at most."""
        return passes_for(rows, self.batch_size, self.epochs, bool(self._share(rows)) and rows > _FEW)

    def _share(self, rows: int) -> float:
        """The share of so many rows that is held out."""
        return held_share(rows) if self.validation is None else self.validation

    @classmethod
    def of(cls, vae: VAE, schema: TableSchema, **params: Any) -> TabularVAE:
        """A fitted estimator of a model that was made otherwise, for tables of this schema."""
        made = cls(**params)
        made._check()
        made.schema_, made.vae_, made.history_ = schema, vae.eval(), History([])
        return made

    def save(self, folder: str | Path) -> None:
        """Write model, schema and parameters to a folder; nothing in it is code."""
        self._fitted()
        save(self.vae_, folder, config=self.kept(), schema=Schema.of_table(self.schema_))

    def kept(self) -> dict[str, Any]:
        """What the configuration of a run keeps of the estimator beside its model."""
        kept = {n: v for n, v in self.get_params().items() if n in _KEPT and v is not None}
        usual: dict[str, Any] = {} if self._usual is None else {"usual": self._usual.tolist()}
        return {"tabular": {**kept, **usual}}

    @classmethod
    def load(cls, folder: str | Path) -> TabularVAE:
        """The estimator that ``save`` wrote, or the model of ``reparam train`` on a table.

        Raises:
            RunFolderError: for a folder that is incomplete, altered, or of no table.
        """
        return cls.of_run(open_run(folder))

    @classmethod
    def of_run(cls, run: Run) -> TabularVAE:
        """The estimator of an opened run: see :meth:`load`."""
        if run.schema is None or run.schema.table is None:
            raise RunFolderError(f"{run.folder} is not of a table: open it by reparam.load")
        raw = run.config.get("tabular", {})
        raw = raw if isinstance(raw, dict) else {}
        made = cls.of(run.vae, run.schema.table, **{n: v for n, v in raw.items() if n in _KEPT})
        usual = np.array(raw.get("usual", []), dtype=np.float64)
        if usual.shape == (2, run.schema.table.width):
            made._usual = usual
        return made

    def transform(self, X: Any) -> np.ndarray:
        """The mean of q(z|x) of each row given what is seen of it, (rows, latent_dim)."""
        data = self._data(X)
        return evaluate.encode(self.vae_, data, self.random_state).numpy()

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """``fit``, then ``transform`` of the same table."""
        return self.fit(X).transform(X)

    def inverse_transform(self, Z: Any, *, group: Any = None, sample: bool = False) -> Any:
        """A table of one row for each code Z (rows, latent_dim): what ``transform`` gives goes back.

        Each number is its mean given z, each grade of an ordinal column the median, each other category the most
        probable; with ``sample``, all are drawn from p(x|z). ``group`` is that of all rows, in a model that has one.

        Raises:
            InputError: for codes that are no finite numbers of this shape, or a group that is unknown or left out.
        """
        self._fitted()
        z = np.asarray(Z, dtype=np.float64)
        dim = self.vae_.prior(*self._contexts(self._group_codes(group, 1))).event_shape[-1]
        if z.ndim != 2 or z.shape[1] != dim or not len(z) or not np.isfinite(z).all():
            raise InputError(f"codes are finite numbers of shape (rows, {dim}), as transform gives them")
        codes, own = torch.from_numpy(z).to(reference(self.vae_)), self._group_codes(group, len(z))
        with torch.no_grad():
            far = ~self.vae_.prior(*self._contexts(own)).log_prob(codes).isfinite()
        if bool(far.any()):
            raise InputError(
                f"row {int(far.nonzero()[0])} of the codes lies beyond all of training: its prior density is 0"
            )
        return self._decoded(codes, own, sample)

    def reconstruct(self, X: Any, *, group: Any = None) -> Any:
        """What the model makes of each row: ``inverse_transform`` of its ``transform``, holes filled too.

        With ``group``, as if all rows were of that group: what is left of a batch is taken out.
        """
        data = self._data(X)
        z = evaluate.encode(self.vae_, data, self.random_state)
        own = self.schema_.groups(X) if group is None else self._group_codes(group, len(z))
        return self._decoded(z, own, False, frames.library(X))

    def _decoded(self, z: torch.Tensor, groups: np.ndarray | None, sample: bool, frame: str | None = None) -> Any:
        c = self._contexts(groups)
        if sample:
            return self.schema_.decode(drawn(self.vae_, z, c, self.schema_, self.random_state), frame, groups)
        values = in_units(self.schema_, decoded(self.vae_, z, c, self.schema_, self.random_state))
        return self.schema_.table(values, len(z), frame, groups)

    def _contexts(self, groups: np.ndarray | None) -> tuple[torch.Tensor, ...]:
        return tuple(t.to(reference(self.vae_)) for t in self.schema_.contexts(groups))

    def _group_codes(self, group: Any, rows: int) -> np.ndarray | None:
        column = self.schema_.group
        if column is None and group is not None:
            raise InputError(f"this model has no group, and {group!r} is given as one")
        if column is None:
            return None
        if group is None:
            raise InputError(f"rows are decoded given their group: say which of {column.name!r}")
        return np.full(rows, int(number_of(column, group)))

    def score_samples(self, X: Any) -> np.ndarray:
        """log p of what is seen of each row, (rows,), in nats, per unit of the columns; 0 where nothing is seen.

        The importance-weighted estimate with ``k`` samples, a lower bound in expectation. It depends on the row, the
        seed and k alone.
        """
        return np.asarray(self.log_likelihood(X).per_datum.numpy())

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of ``score_samples``."""
        return self.log_likelihood(X).value

    def log_likelihood(self, X: Any, k: int | None = None) -> Estimate:
        """The estimate behind ``score_samples``, with its standard error, effective sample sizes and k-hat."""
        data = self._data(X)
        found = evaluate.log_likelihood(self.vae_, data, k or self.k, seed=self.random_state)
        units = torch.from_numpy(self.schema_.log_units(data.x.numpy()))
        return Estimate.of(found.per_datum + units, found.k, found.method, found.ess, found.khat)

    def impute(self, X: Any, m: int | None = None) -> Any:
        """The table with its holes filled, in its own dtypes; what is seen stays as it is.

        Each missing number is its posterior mean given what is seen of the row, rounded as its column is; each missing
        grade of an ordinal column is the median, each other category the most probable. A constant gets its value;
        identifiers stay missing.

        With ``m``, a list of m tables: multiple imputations, draws from p(x | seen) by sampling importance resampling,
        for analyses that must know how uncertain a filled cell is (Rubin 1987).
        """
        self._fitted()
        if m is None:
            return filled_tables(self.vae_, self.schema_, X, self._data, None, self.k, self.random_state)[0]
        if isinstance(m, bool) or not isinstance(m, int) or m < 1:
            raise InputError(f"m, the number of imputations, is a whole number of at least 1, not {m!r}")
        return filled_tables(self.vae_, self.schema_, X, self._data, m, self.k, self.random_state)

    def impute_intervals(self, X: Any, level: float = 0.95, m: int = 200) -> Any:
        """What is imputed, a row for each missing cell: row, column, value, low and high, probability.

        ``low`` and ``high`` are the ends of a central interval of m draws given what is seen, for columns of numbers;
        ``probability`` is that of the category that is imputed.
        """
        if not 0 < level < 1:
            raise InputError(f"level, the probability of an interval, is between 0 and 1, not {level!r}")
        data = self._data(X)
        values, probability = single(self.vae_, data, self.schema_, self.k, self.random_state)
        shown = in_units(self.schema_, values)
        several = multiple(self.vae_, data, self.schema_, m, self.k, self.random_state)
        ends = np.quantile(several, [(1 - level) / 2, (1 + level) / 2], axis=0)
        holes = np.isnan(data.x.numpy())
        table: dict[str, list[Any]] = {n: [] for n in ("row", "column", "value", "low", "high", "probability")}
        for row, i in np.argwhere(holes[:, : len(self.schema_.modelled)]).tolist():
            column = self.schema_.modelled[i]
            value = shown[column.name][row]
            low, high = (math.nan, math.nan) if column.coded else column.decode(ends[:, row, i]).tolist()
            entry = (row, column.name, column.shown(value), low, high, probability[row, i])
            for name, each in zip(table, entry, strict=True):
                table[name].append(each)
        dtypes = {"row": "int64", "column": "str", "value": "str"}
        return frames.build(
            frames.library(X),
            {n: (np.array(v, dtype=object if n in ("column", "value") else np.float64), dtypes.get(n, "float64"), None)
             for n, v in table.items()},
        )  # fmt: skip

    def sample(
        self, n: int = 1, given: Mapping[str, Any] | None = None, *, random_state: int | None = None,
        with_quality: bool = False,
    ) -> Any:  # fmt: skip
        """n new rows, in the columns, dtypes and bounds of the table; identifiers are left out.

        ``given`` are conditions by column: a value, a pair (low, high) of numbers, or a list of categories:
        ``{"sex": "F", "age": (30, 40)}``. z is then drawn from the prior and from q given the conditions, resampled by
        its importance weights, and the other cells are drawn given z. A warning says where the weights are poor;
        ``with_quality`` gives (table, :class:`Quality`).

        Raises:
            InputError: for n below 1, a column or a category that is none, or conditions that no draw has met.
        """
        self._fitted()
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"the number of samples must be at least 1, not {n!r}")
        seed = self.random_state if random_state is None else random_state
        x, groups, quality = sample_rows(self.vae_, self.schema_, int(n), dict(given or {}), seed)
        table = self.schema_.decode(x, groups=groups)
        if self.schema_.frame == "pandas" and given:
            table.attrs["quality"] = quality._asdict()
        return (table, quality) if with_quality else table

    def anomaly_score(self, X: Any) -> np.ndarray:
        """How unusual each row is, (rows,): -log p of what is seen of it, in nats. The higher, the more unusual."""
        return -self.score_samples(X)

    def anomaly_columns(self, X: Any, top: int = 3) -> Any:
        """The columns that make each row unusual, ranked: a table of row, rank, column, surprise and excess.

        The surprise of a cell is -log p(cell | the other seen cells), in nats per unit of its column; ``excess`` is how
        many standard deviations it lies above the mean surprise of its column in training, by which it is ranked.
        """
        data = self._data(X)
        found = surprises(self.vae_, data, self.k, self.random_state)
        usual = self._usual if self._usual is not None else np.array([[0.0], [1.0]])
        excess = (found - usual[0]) / usual[1]
        order = np.argsort(-np.nan_to_num(excess, nan=-np.inf), axis=1, kind="stable")[:, :top]
        rows = np.repeat(np.arange(len(found)), order.shape[1])
        ranks, at = np.tile(np.arange(order.shape[1]), len(found)), order.ravel()
        known = ~np.isnan(found[rows, at])
        rows, ranks, at = rows[known], ranks[known], at[known]
        x, columns = data.x.double().numpy(), self.schema_.modelled
        units = np.stack([c.log_units(x[:, i]) for i, c in enumerate(columns)], 1)
        units = np.pad(units, ((0, 0), (0, x.shape[1] - units.shape[1])))
        names = np.array([self.schema_.names[i] for i in at], dtype=object)
        return frames.build(frames.library(X), {
            "row": (rows.astype(float), "int64", None), "rank": (ranks + 1.0, "int64", None),
            "column": (names, "str", None), "surprise": ((found - units)[rows, at], "float64", None),
            "excess": (excess[rows, at], "float64", None),
        })  # fmt: skip

    def _learn_the_usual(self, data: Dataset) -> None:
        """Mean and deviation of each column's surprise, over some rows of training."""
        width = data.x.shape[1]
        rows = min(len(data), max(20, _REFERENCE // width // max(1, width // 10)))
        chosen = data[torch.linspace(0, len(data) - 1, rows).long()]
        found = surprises(self.vae_, chosen, _REFERENCE_K, self.random_state)
        known = ~np.isnan(found)
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, found, 0.0).sum(0) / count
        spread = np.sqrt(np.where(known, (found - mean) ** 2, 0.0).sum(0) / count)
        self._usual = np.stack([mean, np.maximum(spread, 0.1)])

    def _check(self) -> None:
        for name, value, known in (
            ("missingness", self.missingness, ("random", "informative")), ("unseen", self.unseen, ("error", "missing")),
        ):  # fmt: skip
            if value not in known:
                raise InputError(f"unknown {name} {value!r}: {nearest(str(value), known)}")
        self._check_whole("k", "train_k", "batch_size")

    def _fitted(self) -> None:
        if not hasattr(self, "vae_"):
            raise InputError("this TabularVAE is not fitted yet: call fit(table) first")

    def _data(self, X: Any) -> Dataset:
        self._fitted()
        return self.schema_.dataset(X, self.unseen, reference(self.vae_).dtype)


_KEPT = ("k", "random_state", "unseen", "missingness", "latent_dim")
__all__ = ["Quality", "TabularVAE"]
