"""The page of a report: HTML without scripts, in which every string is escaped."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from reparam.report.pictures import Picture
from reparam.report.style import CSS
from reparam.report.words import Facts, Row, evaluation_rows, model_rows, plural, training_rows
from reparam.version import __version__

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_NATS = (
    "Numbers are in nats, units of information (1 nat is 1.44 bits): sums over one datum, means over all data. "
    "A difference of one nat makes a datum 2.7 times as probable."
)


def page(title: str, facts: Facts, pictures: Mapping[str, Picture], missing: str = "") -> str:
    """The whole page. ``missing`` says why there are no pictures."""
    return shell(title, _lede(facts), _sections(facts, pictures), missing)


def shell(title: str, lede: str, sections: Iterable[tuple[str, str, str]], missing: str = "") -> str:
    """A page of these sections (anchor, heading, content); headings and content are HTML, the rest is escaped."""
    told = list(sections)
    note = f'<p class="note">{escape(missing)}</p>' if missing else ""
    links = "".join(f'<a href="#{key}">{head}</a>' for key, head, _ in told)
    body = "".join(f'<section id="{key}"><h2>{head}</h2>{content}</section>\n' for key, head, content in told)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(title)}</h1><p class="lede">{escape(lede)}</p>{note}'
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>\n{body}</main>\n'
        f"<footer>Written by reparam {escape(__version__)}; complete in this one file.</footer>\n</body>\n</html>\n"
    )


def _lede(facts: Facts) -> str:
    """The run in one or two sentences."""
    kind = "An autoencoder" if facts.autoencoder else "A variational autoencoder"
    dims = "" if facts.latent_dim is None else f" with {plural(facts.latent_dim, 'latent dimension')}"
    event = {1: facts.event, 2: f"images of {facts.event} pixels", 3: f"images of {facts.event} numbers"}.get(
        len(facts.schema.event_shape), f"arrays of {facts.event}"
    )
    rows = (facts.config.get("train") or {}).get("rows")
    trained = f", trained on {rows:,} rows" if isinstance(rows, int) else ""
    return f"{kind} of {event}{dims}{trained}."


def _sections(facts: Facts, pictures: Mapping[str, Picture]) -> Iterator[tuple[str, str, str]]:
    """(anchor, heading, content) of every section that has something to say."""

    def figures(*names: str) -> str:
        return "".join(figure(pictures[name]) for name in names if name in pictures)

    yield "numbers", "How good it is", _evaluation(facts)
    for key, head, names in (
        ("samples", "What it makes", ("samples", "marginals")),
        ("reconstructions", "What it keeps", ("reconstructions",)),
        ("latent", "Latent space", ("latent", "manifold")),
    ):
        if content := figures(*names):
            yield key, head, content
    if rows := training_rows(facts):
        yield "training", "How it was trained", figures("curves") + _facts(rows, "Setting", "Value")
    yield "model", "The model", _facts(model_rows(facts), "Part", "Choice")


def _evaluation(facts: Facts) -> str:
    rows = evaluation_rows(facts)
    if not rows:
        how = "<code>reparam evaluate RUN DATA</code>"
        return f"<p>Not evaluated yet. Measure it on data that training never saw: {how}</p>"
    name = facts.evaluation.get("data")
    on = f"Measured on {escape(str(name))}. " if name else ""
    lines = "".join(
        f'<tr{_big(i)}><th scope="row">{escape(r.name)}<small>{escape(r.meaning)}</small></th>'
        f"<td>{escape(r.value)}</td></tr>\n"
        for i, r in enumerate(rows)
    )
    return (
        f'<p>{on}{escape(_NATS)}</p><table class="numbers"><thead><tr><th scope="col">Number and what it means</th>'
        f'<th scope="col">Value</th></tr></thead><tbody>\n{lines}</tbody></table>'
    )


def _big(i: int) -> str:
    return ' class="big"' if i == 0 else ""


def _facts(rows: Sequence[Row], name: str, value: str) -> str:
    lines = "".join(f'<tr><th scope="row">{escape(r.name)}</th><td>{escape(r.value)}</td></tr>\n' for r in rows)
    return (
        f'<table class="facts"><thead><tr><th scope="col">{name}</th><th scope="col">{value}</th></tr></thead>'
        f"<tbody>\n{lines}</tbody></table>"
    )


def figure(picture: Picture) -> str:
    """The picture inside the page, at two thirds of a dot's size: 150 dots and 96 points make an inch."""
    width, height = (round(side * 96 / 150) for side in struct.unpack(">II", picture.png[16:24]))
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><div class="card"><img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(picture.alt)}"></div><figcaption>{escape(picture.caption)}</figcaption></figure>\n'
    )
