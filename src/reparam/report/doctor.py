"""The page of a diagnosis: every finding with its number, its picture and its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reparam import plots
from reparam.errors import MissingExtraError
from reparam.evaluate import Diagnosis, Finding
from reparam.report.page import figure, shell
from reparam.report.pictures import Picture
from reparam.run import atomic_write

_CAPTIONS = {
    "latent_kl": "KL(q(z|x) || p(z)) of each dimension, a mean over the data, with two standard errors.",
    "latent": "A draw of q(z|x) for each datum. Together they should fill the prior.",
    "gaps": "The mark is the bound by the encoder's q; the bar ends at log p(x).",
    "sbc": "Of data that the model makes itself. Heaped at both ends, q is too narrow; in the middle, too wide.",
    "pit": "Heaped at both ends, the likelihood is too narrow; in the middle, too wide. Elements of one datum are "
    "not independent: the band is for as many rows.",
    "columns": "On the left, Kolmogorov's distance of each column's transform from uniform. On the right, that of the "
    "worst: heaped at both ends its predictions are too narrow, in the middle too wide, at one value it has a heap.",
    "samples": "Where draws at the codes of data lie as far away as samples, p(x|z) is at fault, and not the prior.",
    "log_p": "Outliers lie far to the left of both.",
    "rate_distortion": "Each point is a model trained for a short while; towards the lower left is better.",
    "curves": "Each is a mean over data, in nats.",
}


def write_doctor(
    path: Path, found: Diagnosis, title: str, history: Sequence[Mapping[str, Any]] = (), more: Sequence[str] = ()
) -> Path:
    """Write a diagnosis as one HTML file with its pictures inside; without matplotlib it has none and says so.

    ``more`` names pictures that have a section of their own; all that belong to no finding stand together behind the
    findings. ``history`` are the records that "curves" draws.
    """
    drawn: dict[str, Picture] = {}
    missing = ""
    try:
        for name in dict.fromkeys([*(f.picture for f in found.findings if f.picture), *more, *found.pictures]):
            if name == "curves" and history:
                drawn[name] = _picture(name, plots.curves(history))
            elif name in found.pictures:
                drawn[name] = _picture(name, plots.diagnosis(name, found.pictures[name]))
    except MissingExtraError as error:
        missing = str(error)
    count = len(found.findings)
    lede = "Nothing found to be wrong." if found.healthy else f"{count} finding{'s' * (count > 1)}, the heaviest first."
    atomic_write(path, shell(title, lede, _sections(found, drawn, more), missing))
    return path


def _picture(name: str, drawing: Any) -> Picture:
    caption = _CAPTIONS.get(name, "")
    return Picture(name, plots.png_bytes(drawing), caption, caption)


def _sections(found: Diagnosis, drawn: Mapping[str, Picture], more: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    shown: set[str] = set()
    for f in found.findings:
        picture = drawn.get(f.picture or "") if f.picture not in shown else None
        shown.add(f.picture or "")
        yield f.name, escape(f.name.replace("_", " ").capitalize()), _finding(f, picture)
    for name in more:
        if name in drawn:
            yield name, escape(name.replace("_", " ").capitalize()), figure(drawn[name])
    rest = [picture for name, picture in drawn.items() if name not in shown and name not in more]
    if rest:
        lead = "<p>What was looked at beside the findings, and not found to be wrong.</p>"
        yield "pictures", "Also looked at", lead + "".join(figure(picture) for picture in rest)
    yield "numbers", "All numbers", _numbers(found)


def _finding(f: Finding, picture: Picture | None) -> str:
    unit = f" {f.unit}" if f.unit else ""
    return (
        f"<p>{escape(f.sentence)}</p>"
        f'<p class="note"><strong>Try:</strong> {escape(f.remedy)}</p>'
        f'<p class="lede">{escape(str(f.number))}{escape(unit)}; weight {f.weight:.2f}</p>'
        + (figure(picture) if picture is not None else "")
    )


def _numbers(found: Diagnosis) -> str:
    of = "" if found.rows == found.rows_in_all else f" of {found.rows_in_all:,}"
    lines = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{escape(str(n))}</td></tr>\n'
        for name, n in found.numbers.items()
    ) + "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>not measured: {escape(why)}</td></tr>\n'
        for name, why in found.skipped.items()
    )
    return (
        f"<p>From {found.rows:,}{of} rows; ± is one standard error, and none is given where it is not known.</p>"
        '<table class="facts"><thead><tr><th scope="col">Number</th><th scope="col">Value</th></tr></thead>'
        f"<tbody>\n{lines}</tbody></table>"
    )
