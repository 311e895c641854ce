"""Where the checks write what they measure and find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from reparam.evaluate.diagnosis.finding import Finding, Number
from reparam.evaluate.diagnosis.gaps import Gaps
from reparam.evaluate.diagnosis.subject import Subject
from reparam.evaluate.diagnosis.training import Run


@dataclass
class Chart:
    """What was measured and found so far, with what later checks read of earlier ones."""

    run: Run
    numbers: dict[str, Number] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    gap_rows: int = 100
    features: Callable[..., Any] | None = None
    held: Gaps | None = None
    seen: Gaps | None = None
    dispersion: Number | None = None

    def find(
        self,
        name: str,
        weight: float,
        number: Number,
        sure: float,
        sentence: str,
        remedy: str,
        *,
        unit: str = "",
        picture: str | None = None,
        **details: Any,
    ) -> None:
        """A finding; it is named in the end if it is sure enough."""
        self.findings.append(Finding(name, weight, number, unit, sure, sentence, remedy, picture, details))


Check = Callable[[Subject, Chart], None]
