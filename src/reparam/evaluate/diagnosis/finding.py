"""What a diagnosis says: findings in order of weight, each with a number, how sure it is, and what to change."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reparam.shapes import Float

# the fields of Disentanglement
SCORES = ("mig", "sap", "factor_vae", "modularity", "disentanglement", "completeness", "informativeness")
SURE = 0.9999  # a finding is named only where its number lies beyond its limit with this probability


class Number(NamedTuple):
    """A measurement with its standard error: 0 where it is counted, NaN where the error is not known."""

    value: float
    error: float

    @staticmethod
    def mean(values: Float[Tensor, " n"]) -> Number:
        """The mean of independent values."""
        v = values.detach().double().cpu()
        return Number(float(v.mean()), float(v.std()) / math.sqrt(len(v)) if len(v) > 1 else math.nan)

    @staticmethod
    def ratio(above: Float[Tensor, " n"], below: Float[Tensor, " n"]) -> Number:
        """The ratio of two means over the same rows; its error to first order (the delta method)."""
        a, b = above.detach().double().cpu(), below.detach().double().cpu()
        value = float(a.mean() / b.mean())
        return Number(value, Number.mean((a - value * b) / b.mean()).error)

    def __sub__(self, other: Number) -> Number:
        """The difference of two numbers whose errors are independent."""
        return Number(self.value - other.value, math.hypot(self.error, other.error))

    def above(self, limit: float) -> float:
        """The probability, by the error and a normal law, that the truth is above the limit."""
        if self.error == 0:
            return float(self.value > limit)
        if not math.isfinite(self.value) or not math.isfinite(self.error):
            return 0.0
        return 0.5 * math.erfc((limit - self.value) / self.error / math.sqrt(2))

    def below(self, limit: float) -> float:
        """The probability that the truth is below the limit."""
        return Number(-self.value, self.error).above(-limit)

    def __str__(self) -> str:
        return shown(self.value) + (f" ± {shown(self.error)}" if self.error > 0 and math.isfinite(self.error) else "")


def shown(value: float) -> str:
    """Three digits, or a whole number as it is."""
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{int(value)}"
    return f"{value:.3g}" if abs(value) < 1e3 else f"{value:,.0f}"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    ``weight`` is from 0 (worth knowing) to 1 (nothing that the model says can be used). ``number`` is the measurement
    in ``unit``, ``sure`` the probability that it lies beyond the limit of what is healthy, by its standard error: 1
    where it is counted. ``picture`` names an entry of ``Diagnosis.pictures``.
    """

    name: str
    weight: float
    number: Number
    unit: str
    sure: float
    sentence: str
    remedy: str
    picture: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, under names that stay."""
        return {
            "name": self.name,
            "weight": round(self.weight, 3),
            "value": _plain(self.number.value),
            "stderr": _plain(self.number.error),
            "unit": self.unit,
            "sure": round(self.sure, 6),
            "sentence": self.sentence,
            "remedy": self.remedy,
            "picture": self.picture,
            "details": _plain(self.details),
        }


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a model, the heaviest first, and every number that was measured on the way.

    ``pictures`` holds the arrays that :func:`reparam.plots.diagnosis` draws; ``skipped`` says what could not be
    measured, and why.
    """

    findings: list[Finding]
    numbers: dict[str, Number]
    rows: int
    rows_in_all: int
    skipped: dict[str, str]
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(
        found: Iterable[Finding],
        numbers: Mapping[str, Number],
        rows: int,
        rows_in_all: int,
        skipped: Mapping[str, str],
        pictures: Mapping[str, dict[str, Any]],
    ) -> Diagnosis:
        """The findings that are sure enough, in order of weight."""
        kept = sorted((f for f in found if f.sure >= SURE), key=lambda f: (-f.weight, f.name))
        return Diagnosis(kept, dict(numbers), rows, rows_in_all, dict(skipped), dict(pictures))

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __contains__(self, name: str) -> bool:
        return any(f.name == name for f in self.findings)

    def __getitem__(self, name: str) -> Finding:
        """The finding of this name.

        Raises:
            KeyError: if it was not made.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, under names that stay; what is not finite is None."""
        return {
            "healthy": self.healthy,
            "findings": [f.to_dict() for f in self.findings],
            "numbers": {k: {"value": _plain(n.value), "stderr": _plain(n.error)} for k, n in self.numbers.items()},
            "rows": self.rows,
            "rows_in_all": self.rows_in_all,
            "skipped": self.skipped,
        }

    def __str__(self) -> str:
        of = "" if self.rows == self.rows_in_all else f" of {self.rows_in_all:,}"
        where = f"{len(self.numbers)} numbers from {self.rows:,}{of} rows"
        if self.healthy:
            return "\n".join([f"nothing found to be wrong ({where}{_fit(self.numbers)})", *_scores(self.numbers)])
        count = f"{len(self.findings)} finding{'s' * (len(self.findings) > 1)}"
        parts = [f"{count}, the heaviest first ({where}{_fit(self.numbers)})"]
        for i, f in enumerate(self.findings, 1):
            head = f"{i}. {f.name.replace('_', ' ')}"
            sure = "counted" if f.number.error == 0 else "sure to 1 in 10,000 or better"
            parts.append(f"\n{head:<44}weight {f.weight:.2f}   {sure}")
            for label, words in (("", f.sentence), ("try: ", f.remedy)):
                parts.append(textwrap.fill(words, 96, initial_indent="   " + label, subsequent_indent="   "))
        return "\n".join([*parts, *_scores(self.numbers)])


def _scores(numbers: Mapping[str, Number]) -> list[str]:
    """Lines about known factors, where they were given."""
    known = [n for n in SCORES if n in numbers]
    if not known:
        return []
    lines = [
        f"   {n.replace('_', ' '):<18}{numbers[n].value:.2f}   {numbers[n + '_by_chance'].value:.2f}" for n in known
    ]
    return ["\nagainst the known factors, from 0 to 1, and of the same factors in random order", *lines]


def _fit(numbers: Mapping[str, Number]) -> str:
    best = numbers.get("log_likelihood") or numbers.get("elbo")
    return "" if best is None else f"; log p(x) {best} nats"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, torch.Tensor):
        return _plain(value.tolist())
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def saturating(amount: float, half: float) -> float:
    """From 0 to 1: one half where the amount is ``half``."""
    return max(0.0, amount) / (max(0.0, amount) + half)
