"""How well single latent dimensions stand for single known factors of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reparam.errors import InputError, require
from reparam.shapes import Float, Int

_BINS = 20


@dataclass(frozen=True)
class Disentanglement:
    """Scores between 0 and 1; a code whose dimensions are functions of one factor each, one for every factor, has 1.

    ``mig`` is the mutual information gap (Chen et al. 2018, eq. 6), ``sap`` the separated attribute predictability
    (Kumar et al. 2018), ``factor_vae`` the majority vote (Kim & Mnih 2018, appendix B), ``modularity`` that of Ridgeway
    & Mozer (2018, section 3), and ``disentanglement``, ``completeness`` and ``informativeness`` are of DCI (Eastwood &
    Williams 2018), None where scikit-learn is not installed.
    """

    mig: float
    sap: float
    factor_vae: float
    modularity: float
    disentanglement: float | None = None
    completeness: float | None = None
    informativeness: float | None = None


def disentanglement(
    codes: Float[Tensor, "n d"], factors: Tensor | np.ndarray | Sequence[Sequence[int]], seed: int = 0, dci: bool = True
) -> Disentanglement:
    """The scores of codes (such as the means of q(z|x)) against known factors, one column of whole numbers for each.

    Raises:
        InputError: for factors that are not (N, F) whole numbers, or that do not vary.
        MissingExtraError: if ``dci`` is asked for and scikit-learn is not installed.
    """
    z, y = codes.detach().double().cpu(), levels(factors, len(codes))
    information = mutual_informations(z, y)
    entropies = torch.tensor([_entropy(column) for column in y.T], dtype=torch.float64)
    shares = information / entropies  # (D, F)
    more = dci_scores(z, y, seed) if dci else (None, None, None)
    return Disentanglement(
        _gap(shares), _gap(_predictability(z, y)), factor_vae_score(z, y, seed), modularity(information), *more
    )


def levels(factors: Tensor | np.ndarray | Sequence[Sequence[int]], n: int) -> Int[Tensor, "n f"]:
    """The factors of n rows as numbers of their values, 0, 1, ...

    Raises:
        InputError: for factors that are not (N, F) numbers or texts, or that do not vary.
    """
    array = factors.detach().cpu().numpy() if isinstance(factors, Tensor) else np.asarray(factors)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n:
        raise InputError(f"factors are (N, F), one row for each of {n} rows of data, not {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row, factor = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"factor {factor} of row {row} is {array[row, factor]}: each row needs all its factors")
    columns = [np.unique(column, return_inverse=True) for column in array.T]
    for i, (values, _) in enumerate(columns):
        if not 2 <= len(values) <= max(2, n // 2):
            raise InputError(
                f"factor {i} has {len(values)} values in {n} rows: give factors of few values, at least two; cut a "
                "continuous one into bins"
            )
    return torch.from_numpy(np.stack([index.reshape(-1) for _, index in columns], 1)).long()


def _entropy(y: Int[Tensor, " n"]) -> float:
    share = y.bincount().double() / len(y)
    share = share[share > 0]
    return -float((share * share.log()).sum())


def _binned(z: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """A code in 20 bins of equal width; a constant one in one bin."""
    low, high = float(z.min()), float(z.max())
    return ((z - low) / max(high - low, 1e-300) * _BINS).long().clamp(0, _BINS - 1)


def mutual_informations(z: Float[Tensor, "n d"], y: Int[Tensor, "n f"]) -> Float[Tensor, "d f"]:
    """I(z_d; y_f) in nats, with z cut into 20 bins of equal width, less the bias of that estimate.

    The plug-in estimate is too large by about (C - A - B + 1) / 2N, with A and B values and C pairs in use (Miller
    1955).
    """
    n = len(z)
    out = torch.zeros(z.shape[1], y.shape[1], dtype=torch.float64)
    for d in range(z.shape[1]):
        bins = _binned(z[:, d])
        for f in range(y.shape[1]):
            joint = torch.zeros(_BINS, int(y[:, f].max()) + 1, dtype=torch.float64)
            joint.index_put_((bins, y[:, f]), torch.ones(n, dtype=torch.float64), accumulate=True)
            joint /= n
            product = torch.outer(joint.sum(1), joint.sum(0))
            used = joint > 0
            cells, a, b = (int((t > 0).sum()) for t in (joint, joint.sum(1), joint.sum(0)))
            value = float((joint[used] * (joint[used] / product[used]).log()).sum())
            out[d, f] = max(0.0, value - max(0, cells - a - b + 1) / (2 * n))
    return out


def _gap(score: Float[Tensor, "d f"]) -> float:
    """The mean over factors of the best dimension's score less the second best's."""
    if len(score) < 2:
        return float(score.amax(0).mean())
    best = score.topk(2, 0).values
    return float((best[0] - best[1]).mean())


def _predictability(z: Float[Tensor, "n d"], y: Int[Tensor, "n f"]) -> Float[Tensor, "d f"]:
    """How well one dimension alone tells the class: accuracy of the nearest class mean beyond chance, from 0 to 1.

    Kumar et al. (2018) fit a linear support vector machine to one dimension; with two classes both cut the line once.
    """
    out = torch.zeros(z.shape[1], y.shape[1], dtype=torch.float64)
    for f in range(y.shape[1]):
        classes = int(y[:, f].max()) + 1
        member = torch.nn.functional.one_hot(y[:, f], classes).double()
        means = (member.T @ z) / member.sum(0).unsqueeze(1)  # (classes, D)
        told = (z.unsqueeze(1) - means).abs().argmin(1)  # (n, D)
        accuracy = (told == y[:, f].unsqueeze(1)).double().mean(0)
        chance = float(member.mean(0).max())
        out[:, f] = ((accuracy - chance) / (1 - chance)).clamp_min(0)
    return out


def factor_vae_score(z: Float[Tensor, "n d"], y: Int[Tensor, "n f"], seed: int = 0, votes: int = 400) -> float:
    """Accuracy of telling which factor was held fixed from the dimension that then varies least (Kim & Mnih 2018).

    Each vote fixes a random factor at a random value, takes up to 64 rows with it, and names the dimension with the
    least variance relative to that over all data; dimensions that do not vary are left out. The majority vote is fitted
    on half of the votes and scored, less chance and rescaled to reach from 0 to 1, on the other half.
    """
    spread = z.var(0)
    used = (spread > 1e-12 * max(1.0, float(spread.max()))).nonzero().flatten()
    if len(used) == 0:
        return 0.0
    generator = torch.Generator().manual_seed(seed)
    table = torch.zeros(2, len(used), y.shape[1], dtype=torch.float64)
    for vote in range(2 * votes):
        f = int(torch.randint(y.shape[1], (1,), generator=generator))
        value = y[int(torch.randint(len(y), (1,), generator=generator)), f]
        rows = (y[:, f] == value).nonzero().flatten()
        rows = rows[torch.randint(len(rows), (64,), generator=generator)]
        least = int((z[rows][:, used].var(0) / spread[used]).argmin())
        table[vote % 2, least, f] += 1
    told = table[0].argmax(1)
    right = float(table[1][torch.arange(len(used)), told].sum() / table[1].sum())
    chance = float(table[1].sum(0).max() / table[1].sum())
    return max(0.0, (right - chance) / (1 - chance)) if chance < 1 else right


def modularity(information: Float[Tensor, "d f"]) -> float:
    """1 less the mean over dimensions of the information about other factors than the dimension's own.

    It is Σ_{f ≠ best} I² / (I_best² (F - 1)); dimensions that tell less than 5% of what the most telling one does
    are left out, since theirs is the noise of a finite sample; 0 is given where none tells anything.
    """
    if information.shape[1] < 2:
        return 1.0
    squares = information.square()
    best = squares.amax(1)
    told = best > 0.05**2 * float(best.max())
    if float(best.max()) == 0:
        return 0.0
    off = (squares[told].sum(1) - best[told]) / (best[told] * (information.shape[1] - 1))
    return float(1 - off.mean())


def dci_scores(z: Float[Tensor, "n d"], y: Int[Tensor, "n f"], seed: int = 0) -> tuple[float, float, float]:
    """(disentanglement, completeness, informativeness) of Eastwood & Williams (2018), with random forests.

    The importance of each dimension for each factor is that of a forest of 50 trees; informativeness is the accuracy
    on the half of the rows that was not fitted.

    Raises:
        MissingExtraError: if scikit-learn is not installed.
    """
    ensemble = require("sklearn.ensemble", "sklearn", "DCI")
    order = np.random.default_rng(seed).permutation(len(z))
    fitted, held = order[: len(z) // 2], order[len(z) // 2 :]
    codes, factors = z.numpy(), y.numpy()
    importance, accuracy = [], []
    for column in factors.T:
        forest = ensemble.RandomForestClassifier(50, max_depth=8, random_state=seed, max_features=None)
        forest.fit(codes[fitted], column[fitted])
        importance.append(forest.feature_importances_)
        accuracy.append(float((forest.predict(codes[held]) == column[held]).mean()))
    weights = torch.from_numpy(np.stack(importance, 1)).double()  # (D, F)
    if float(weights.sum()) == 0:
        return 0.0, 0.0, float(np.mean(accuracy))
    by_code = _concentration(weights)
    by_factor = _concentration(weights.T)
    share = weights.sum(1) / weights.sum()
    return float((share * by_code).sum()), float(by_factor.mean()), float(np.mean(accuracy))


def _concentration(weights: Float[Tensor, "a b"]) -> Float[Tensor, " a"]:
    """1 less the entropy of each row, relative to that of equal weights; rows without weight count 0."""
    total = weights.sum(1, keepdim=True)
    share = weights / total.clamp_min(1e-300)
    entropy = -(share * share.clamp_min(1e-300).log()).sum(1)
    most = math.log(weights.shape[1]) if weights.shape[1] > 1 else 1.0
    return torch.where(total[:, 0] > 0, 1 - entropy / most, 0.0)
