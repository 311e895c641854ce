"""bench: the speed table of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from reparam.bench import CASES, growth, measure
from reparam.cli.common import prepare, say
from reparam.cli.options import BenchOptions
from reparam.engine import has_bfloat16
from reparam.errors import InputError, nearest
from reparam.run import environment
from reparam.vae import reference


def bench(options: BenchOptions) -> int:
    """``reparam bench``."""
    prepare(options.threads)
    if options.growth:
        return _growth(options)
    names = options.cases.split(",") if options.cases else ["mlp-128"] if options.quick else list(CASES)
    for name in names:
        if name not in CASES:
            raise InputError(f"unknown case {name!r}: {nearest(name, CASES)}")
    rounds = options.rounds or (2 if options.quick else 7)
    if options.form is not None:
        compiled, precision = options.form.split("-")
        print(json.dumps(measure(CASES[names[0]], compiled == "compiled", precision, rounds)))
        return 0
    results = [_apart(name, form, rounds, options.threads) for name in names for form in _forms(name, options.quick)]
    if options.json:
        print(json.dumps({"environment": environment(), "results": results}))
    else:
        print("\n".join([_HEAD, *map(_line, results)]))
    return 0


def _growth(options: BenchOptions) -> int:
    points = []
    for axis, value, case, processes in growth.points(options.quick):
        say(f"{axis} = {value}")
        points.append({"axis": axis, "value": value, **growth.measure(case, processes, options.threads)})
    if options.json:
        print(json.dumps({"environment": environment(), "growth": points}))
        return 0
    print(f"{'axis':<12}{'value':>8}{'samples/s':>12}{'s per epoch':>13}{'peak MB':>9}")
    for p in points:
        rate, seconds = p["samples_per_second"], p["seconds_per_epoch"]
        print(f"{p['axis']:<12}{p['value']:>8}{rate:>12,.0f}{seconds:>13.3f}{p['peak_mb']:>9.0f}")
    return 0


def _forms(name: str, quick: bool) -> list[tuple[bool, str]]:
    like = reference(CASES[name].vae())
    forms = [f for f in CASES[name].forms if f[1] != "bfloat16" or has_bfloat16(like.device)]
    return forms[:1] if quick else forms


def _apart(name: str, form: tuple[bool, str], rounds: int, threads: int | None) -> dict[str, Any]:
    """One line of the table in a process of its own, so that its memory is its own."""
    said = f"{'compiled' if form[0] else 'eager'}-{form[1]}"
    say(f"{name}, {said}: {rounds} rounds")
    words = ["bench", "--cases", name, "--form", said, "--rounds", str(rounds)]
    words += ["--threads", str(threads)] if threads else []
    done = subprocess.run([sys.executable, "-m", "reparam", *words], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


_HEAD = f"{'case':<12}{'form':<20}{'samples/s':>11}  {'peak MB':>8}  {'products':>8}  {'2048^3':>7}  times faster than"


def _line(result: dict[str, Any]) -> str:
    form = f"{'compiled' if result['compiled'] else 'eager'} {result['precision']}"
    shares = (f"{result[k]:.0%}" if k in result else "-" for k in ("share_of_own_products", "share_of_2048"))
    own, large = shares
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in result["ratio"].items())
    rate = f"{result['samples_per_second']['reparam']:,.0f}"
    if "error_mean" in result:
        ratios += f"; error {result['error_mean']:+.4f} sd {result['error_sd']:.4f} nats"
    return f"{result['case']:<12}{form:<20}{rate:>11}  {result['peak_mb']:>8.0f}  {own:>8}  {large:>7}  {ratios}"
