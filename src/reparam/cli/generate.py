"""sample, encode, decode, reconstruct: what a trained model makes."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam import seeding
from reparam.cli import cells, tables
from reparam.cli.common import check_seed, dataset, opened, opened_with_data, prepare, say, writable
from reparam.cli.options import DecodeOptions, EncodeOptions, ReconstructOptions, SampleOptions
from reparam.cli.output import PICTURES, TABLES, check_picture, write_array, write_data
from reparam.data import Schema, read
from reparam.errors import InputError
from reparam.evaluate import encode as posterior_means
from reparam.vae import VAE, reference

_ROWS = 4096  # decoded at a time


def sample(options: SampleOptions) -> int:
    """``reparam sample``."""
    prepare()
    run, schema = opened(options.run)
    path = writable(options.out, _endings(schema))
    if options.n < 1:
        raise InputError(f"-n must be at least 1, not {options.n}")
    if schema.table is not None:
        return tables.sample(options, run, schema)
    check_picture(path, schema)
    sizes = [min(_ROWS, options.n - i) for i in range(0, options.n, _ROWS)]
    contexts = [_given(run.vae, schema.given(options.given, n)) for n in sizes]
    with seeding.seeded(check_seed(options.seed)):
        parts = [run.vae.sample(n, *c, mean=options.mean) for n, c in zip(sizes, contexts, strict=True)]
    write_data(path, schema.restore(torch.cat(parts)), schema)
    say(f"{options.n} samples in {path}")
    return 0


def encode(options: EncodeOptions) -> int:
    """``reparam encode``."""
    prepare()
    path = writable(options.out, (*TABLES, *cells.endings(options.data)))
    run, schema, data = opened_with_data(options)
    means = posterior_means(run.vae, data, check_seed(options.seed))
    if path.suffix.lower() in cells.ENDINGS:
        cells.write_latents(options.data, path, schema, means)
        return 0
    write_array(path, means.cpu().numpy(), [f"z{i + 1}" for i in range(means.shape[1])], key="z")
    say(f"the latents of {len(data)} rows, {means.shape[1]} for each, in {path}")
    return 0


def decode(options: DecodeOptions) -> int:
    """``reparam decode``."""
    prepare()
    run, schema = opened(options.run)
    path = writable(options.out, _endings(schema))
    check_picture(path, schema)
    latents = read(options.latents).x
    if schema.table is not None:
        return tables.decode(options, run, schema, latents)
    dim = run.vae.prior(*_given(run.vae, schema.given(options.given, 1))).event_shape[-1]
    if latents.ndim != 2 or latents.shape[1] != dim or latents.dtype.kind not in "biuf":
        raise InputError(f"{options.latents} has shape {latents.shape}; this model's latents are numbers (rows, {dim})")
    like = reference(run.vae)
    z = torch.from_numpy(latents.astype("float64")).to(like)
    if not bool(z.isfinite().all()):
        raise InputError(f"{options.latents}: row {int((~z.isfinite()).nonzero()[0, 0])} is not finite")
    with seeding.seeded(check_seed(options.seed)):
        parts = [
            run.vae.decode(part, *_given(run.vae, schema.given(options.given, len(part))), mean=not options.sample)
            for part in z.split(_ROWS)
        ]
    write_data(path, schema.restore(torch.cat(parts)), schema)
    say(f"{len(z)} decoded in {path}")
    return 0


def reconstruct(options: ReconstructOptions) -> int:
    """``reparam reconstruct``."""
    prepare()
    run, schema = opened(options.run)
    path = writable(options.out, (*_endings(schema), *cells.endings(options.data)))
    if schema.table is not None:
        return tables.reconstruct(options, run, schema)
    data = dataset(schema, options.data, options.labels, options.binarize)
    check_picture(path, schema)
    if path.suffix.lower() in cells.ENDINGS:
        c = None if options.given is None else _given(run.vae, schema.given(options.given, 1))
        cells.write_expression(options.data, path, run.vae, schema, data, c, check_seed(options.seed))
        return 0
    own = data.contexts_of(slice(None), reference(run.vae))
    c = own if options.given is None else _given(run.vae, schema.given(options.given, len(data)))
    z = posterior_means(run.vae, data, check_seed(options.seed))
    parts = [run.vae.decode(*part) for part in zip(*(t.split(_ROWS) for t in (z, *c)), strict=True)]
    write_data(path, schema.restore(torch.cat(parts)), schema)
    say(f"{len(data)} reconstructions in {path}")
    return 0


def _endings(schema: Schema) -> tuple[str, ...]:
    """Of the files that rows of these data can be written to."""
    return PICTURES if schema.table is None else tables.FRAMES


def _given(vae: VAE, contexts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Contexts where and as the model computes."""
    return tuple(c.to(reference(vae)) for c in contexts)
