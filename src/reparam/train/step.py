"""One step of training: forward, backward and optimiser. It has two forms, eager and compiled, of the same mathematics.

Neither waits for the device: means and a flag for a loss that is not finite are summed there, and read now and then.
From the first such loss on the weights stay as they are, so that the step can be named and looked at afterwards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reparam import seeding
from reparam.conditional import scheduled_parts
from reparam.data import Dataset, as_given
from reparam.engine import Uncompilable, compile_graph, products
from reparam.errors import InputError
from reparam.evaluate.bounds import finite_kl
from reparam.objectives import Objective
from reparam.schedules import Schedule
from reparam.train.auxiliary import Auxiliary
from reparam.train.checkpoint import Position
from reparam.train.crew import Crew, Share
from reparam.train.noise import RowNoise
from reparam.train.optimisers import Adam, Average, Factory, clip_by_norm, common_norm
from reparam.vae import VAE, Draw, reference

_HELD_STEPS = 64  # steps between two looks at the flag
_HELD_ELEMENTS = 1 << 26  # of their rows, which are kept until then
_FREE_OF_STATE = ("torch", "reparam", "zuko")  # packages whose modules compute from tensors and constants alone


@dataclass(frozen=True)
class Options:
    """How steps are done: see :func:`reparam.fit`."""

    optimizer: str | Factory | torch.optim.Optimizer = "adam"
    clip: float | None = None
    accumulate: int = 1
    ema: float | None = None
    precision: str = "float32"


class Held(NamedTuple):
    """What is needed to look at a step again: the generator's state before it, its rows, and its moment of the run."""

    rng: Tensor
    batch: tuple[Tensor, ...]
    now: float
    share: Share  # of which rows of the batch these are


class Step:
    """Gradient ascent of the objective at each moment of the run; ``sums`` are of the objective at its final weights.

    ``taken`` is how many steps the optimiser has done. After the constructor a step is eager; ``compile`` changes that
    for batches of one shape.
    """

    def __init__(
        self, vae: VAE, objective: Objective, data: Dataset, optimizer: torch.optim.Optimizer, options: Options,
        position: Position, auxiliary: Auxiliary | None = None, crew: Crew | None = None,
    ) -> None:  # fmt: skip
        self.vae, self.objective, self.data, self.options = vae, objective, data, options
        self.crew = Crew() if crew is None else crew
        self.optimizer, self.like = optimizer, reference(vae)
        self.auxiliary = Auxiliary(objective, self.like) if auxiliary is None else auxiliary
        self.adam = Adam(optimizer) if Adam.serves(optimizer) else None
        self.average = None if options.ema is None else Average(optimizer, options.ema)
        self.parameters = [p for p in vae.parameters() if p.requires_grad]
        self.learns_beside = bool(self.auxiliary.adversaries) or hasattr(vae.posterior, "absorb")
        self.halt, self.good = (torch.zeros((), dtype=torch.float32, device=self.like.device) for _ in range(2))
        self.waits = self.like.device.type != "cpu"  # for a loss: elsewhere than here, to look at one is to wait for it
        self.moving = bool(objective.schedules())
        self.graph: _Graph | None = None
        self.restart(position)

    def restart(self, position: Position) -> None:
        """Go on from this position, to which model and optimiser have been brought."""
        self.taken, self.held, self.failed = position.step, list[Held](), False
        self.uncounted: list[tuple[Tensor, Tensor, int]] = []
        # unknown before the first step: a hierarchy has a sum for each layer
        sums = [*position.sums, position.squares] if position.sums else None
        self.tally = None if sums is None else torch.tensor(sums, dtype=torch.float64).to(self.like.device)
        self.halt.zero_()
        self.good.zero_()
        if self.adam is not None:
            self.adam.cache = ()
        if self.graph is not None:
            self.graph.bind()

    def __call__(self, batch: tuple[Tensor, ...], now: float, lr: float, share: Share | None = None) -> None:
        """One step on a batch (rows as they are in the data, contexts) at the moment ``now`` of the run, 0 to 1.

        The batch is this process's ``share`` of that of its crew, all of it unless given.
        """
        share = self.crew.share(len(batch[0])) if share is None else share
        self.held.append(Held(torch.get_rng_state(), batch, now, share))
        self.taken += 1
        noise = self._noise(batch, share)
        if self.graph is not None and self.graph.fits(batch):
            self._count()
            self.graph.run(batch, noise, now, lr)
        else:
            self._eager(batch, noise, now, lr, share)

    def _noise(self, batch: tuple[Tensor, ...], share: Share) -> Tensor | None:
        """The draws with which the data make grey values binary: those of its rows among those of the whole batch."""
        if self.crew.alone:
            return self.data.noise(batch[0])
        whole = self.data.noise(batch[0].new_empty((share.total, *batch[0].shape[1:])))
        return None if whole is None else whole[share.first : share.first + share.rows]

    def begun(self) -> bool:
        """Whether a step has been done, so that the optimiser has its state and the sums are known."""
        self._count()
        return self.tally is not None

    def due(self) -> bool:
        """Whether it is time to :meth:`settle`."""
        return self.failed or len(self.held) >= min(
            _HELD_STEPS, max(1, _HELD_ELEMENTS // max(1, self.held[-1].share.total * self.held[-1].batch[0][0].numel()))
        )

    def settle(self) -> tuple[list[float], list[Held]]:
        """The sums so far over rows, and the steps since the last call from the first whose loss was not finite on.

        The last sum is of the gradient's squared norm. If there is such a step, the weights are those before it.
        """
        self._count()
        undone = self.held[round(float(self.good)) :]
        if not undone:
            self.held.clear()
            self.good.zero_()
        return [] if self.tally is None else self.tally.tolist(), undone

    def start_epoch(self) -> None:
        """Forget the sums; and the compiled step, where modules or objective have been changed since it was made."""
        if self.tally is not None:
            self.tally.zero_()
        self.moving = bool(self.objective.schedules())
        if self.graph is not None and self.graph.identity != _identity(self.vae, self.objective):
            with suppress(Uncompilable):  # eager, then
                self.compile(self.graph.example)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside the block the weights are those to validate and to keep."""
        return nullcontext() if self.average is None else self.average.swapped()

    def terms(self, batch: Sequence[Tensor], noise: Tensor | None, current: Objective) -> tuple[Tensor, Tensor, Draw]:
        """The loss of ``current``, the draw, and the sums over rows of what a history tells, (4 + layers,), nats."""
        like, objective = self.like, self.objective
        x, c = self.data.visit(batch[0], like, noise), as_given(batch[1:], like)
        with products(self.options.precision):
            draw = objective.draw(self.vae, x, *c)
            bound = objective.bound(draw)
            surrogate = current.surrogate(draw, bound if current is objective else current.bound(draw))
            penalty = current.penalty(draw, len(self.data))
            penalty = penalty if isinstance(penalty, Tensor) else bound.new_tensor(penalty)
            loss = penalty - surrogate.mean()
        with torch.no_grad():
            layers = () if draw.kl_layers is None else draw.kl_layers
            each = (bound, draw.reconstruction, finite_kl(draw), penalty.detach().expand(x.shape[0]), *layers)
            sums = torch.stack(each).sum(1, dtype=torch.float64)
        return loss, sums, draw

    def _eager(self, batch: tuple[Tensor, ...], noise: Tensor | None, now: float, lr: float, share: Share) -> None:
        current, rows = self.objective.at(now) if self.moving else self.objective, share.total
        for p in self.parameters:
            p.grad = None
        every: list[Tensor] = []
        draws: list[Draw] = []
        for part, its in self._shares(share):
            few = tuple(t[part] for t in batch)
            loss, more, draw = self._counted(few, None if noise is None else noise[part], current, its, rows)
            if self.crew.alone and self._halted(loss):
                return
            every.append(more)
            draws += [draw] if self.learns_beside else []
        if not self.crew.alone:
            every = [self.crew.meet(sum(every[1:], every[0]))]
            if self._halted(every[0][0]):
                return
            self.crew.gradients(self.parameters)
        parameters: list[Tensor] = [p for p in self.parameters if p.grad is not None]
        norm = self._update(parameters, [p.grad for p in parameters if p.grad is not None], lr)
        if self.learns_beside:
            self._learn_beside(draws)
            if self.failed:
                return
        sums = sum(every[1:], every[0])
        sums = sums if self.crew.alone else sums[1:]
        if self.waits:
            sums, norm = (torch.where(self.halt > 0, 0.0, t) for t in (sums, norm))
        self.uncounted.append((sums, norm, rows))
        self.good.add_(1 - self.halt if self.waits else 1)

    def _shares(self, share: Share) -> list[tuple[slice, Share]]:
        """The parts of the batch that are done one after the other, and what of each is done here."""
        if self.options.accumulate == 1:
            return [(slice(None), share)]
        return [share.part(p.start, p.stop) for p in _parts(share.total, self.options.accumulate)]

    def _counted(
        self, few: tuple[Tensor, ...], noise: Tensor | None, current: Objective, share: Share, rows: int
    ) -> tuple[Tensor, Tensor, Draw]:
        """The terms of a part of the batch with its gradients added; of a crew the loss stands before the sums."""
        if self.crew.alone:
            loss, sums, draw = self.terms(few, noise, current)
            loss = loss if share.total == rows else loss * (share.total / rows)
            loss.backward()
            return loss.detach(), sums, draw
        with torch.set_grad_enabled(share.counted > 0), RowNoise(share, self.objective.k, self.crew.rank):
            loss, sums, draw = self.terms(few, noise, current)
        if not share.counted:  # it kept step with the noise of the others
            return loss, torch.zeros(len(sums) + 1, dtype=torch.float64, device=sums.device), draw
        loss = loss * (share.counted / rows)
        loss.backward()
        return loss.detach(), torch.cat([loss.detach().double().reshape(1), sums]), draw

    def _halted(self, loss: Tensor) -> bool:
        """Whether a loss was not finite, where that can be told without waiting; where not, ``halt`` will tell."""
        if self.waits:
            self.halt.logical_or_(loss.isfinite().logical_not_())
            return False
        self.failed = not math.isfinite(loss) or float(self.halt) > 0
        if self.failed:
            self.halt.fill_(1.0)
        return self.failed

    def _count(self) -> None:
        """Bring the sums of the eager steps since the last call to the tally, one after the other as a graph does."""
        if not self.uncounted:
            return
        sums, norms, rows = zip(*self.uncounted, strict=True)
        self.uncounted = []
        totals = [0.0] * (len(sums[0]) + 1) if self.tally is None else self.tally.tolist()
        for each, norm, count in zip(torch.stack(sums).tolist(), torch.stack(norms).tolist(), rows, strict=True):
            totals = [a + b for a, b in zip(totals, [*each, count * norm**2], strict=True)]
        new = torch.tensor(totals, dtype=torch.float64).to(self.like.device)
        self.tally = new if self.tally is None else self.tally.copy_(new)  # in place: a graph adds to it

    def _learn_beside(self, draws: Sequence[Draw]) -> None:
        """What adversaries and codebooks take from the step."""
        for draw in draws:
            if bool(self.halt > 0):
                return
            if not self.auxiliary.step(draw):
                self.halt.fill_(1.0)
                self.failed = True
            else:
                self.vae.absorb(draw)

    @torch.no_grad()
    def _update(self, parameters: list[Tensor], gradients: list[Tensor], lr: float) -> Tensor:
        """The step of the optimiser; the norm of the gradient before it was clipped."""
        norm = common_norm(gradients)
        if self.adam is None and bool(self.halt > 0):
            return norm
        if self.options.clip is not None:
            gradients = clip_by_norm(gradients, norm, self.options.clip)
        if self.adam is not None:
            self.adam.step(parameters, gradients, lr, self.halt)
        else:
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = g
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
        if self.average is not None:
            self.average.step(parameters, self.taken)
        return norm

    def obstacle(self, forced: bool = False) -> str | None:
        """What keeps this step from being compiled, as far as can be told without trying.

        Modules of other packages may keep numbers in attributes that are no tensors, change them at each call, and be
        frozen by a graph; ``forced`` takes the caller's word that they do not.
        """
        if not self.crew.alone:
            return "steps of several processes are not compiled"
        if self.adam is None:
            return "only Adam and AdamW are compiled"
        if self.options.accumulate > 1:
            return "accumulated gradients are not compiled"
        if self.learns_beside:
            return "what is trained beside the model, a discriminator or a codebook, is not compiled"
        if scheduled_parts(self.vae):
            return "schedules of the model's parts, such as a temperature, are not compiled"
        foreign = [type(m) for m in self.vae.modules() if type(m).__module__.split(".")[0] not in _FREE_OF_STATE]
        if foreign and not forced:
            return f"{foreign[0].__qualname__} is no class of reparam or torch; compile=True, if it keeps no state"
        return None

    def compile(self, batch: tuple[Tensor, ...]) -> None:
        """Do steps on batches of this shape by one compiled graph from now on.

        Raises:
            Uncompilable: saying why not; steps stay eager.
        """
        self.graph = None
        with seeding.unmoved():
            self.graph = _Graph(self, batch)

    def again(self, held: Held) -> tuple[Tensor, ...]:
        """The rows of that step as the model read them, with torch's generator as it was for the noise."""
        torch.set_rng_state(held.rng)
        x = self.data.visit(held.batch[0], self.like, self._noise(held.batch, held.share))
        return (x, *as_given(held.batch[1:], self.like))


class _Graph:
    """Forward, backward and Adam as one compiled function of the tensors that change."""

    def __init__(self, step: Step, batch: tuple[Tensor, ...]) -> None:
        self.step, self.example, self.shapes = step, batch, [(t.shape, t.dtype) for t in batch]
        self.identity = _identity(step.vae, step.objective)
        self.names = [n for n, p in step.vae.named_parameters() if p.requires_grad]
        rest = {n: p for n, p in step.vae.named_parameters() if not p.requires_grad} | dict(step.vae.named_buffers())
        self.rest_names, self.rest = list(rest), list(rest.values())
        self.schedules: list[Schedule] = []
        step.objective.replaced(lambda s: self.schedules.append(s) or 0.0)  # type: ignore[func-returns-value]
        self.bind()
        knobs = self._knobs(0.0, 0.0)
        noise = step.data.noise(batch[0])
        self.noisy = noise is not None
        self.compiled = compile_graph(self._traced, self._arguments(knobs, noise, batch))

    def bind(self) -> None:
        """Find the tensors that it changes in place, which are others after the optimiser's state was loaded."""
        step = self.step
        assert step.adam is not None
        assert step.tally is not None
        first, second, self.counts = step.adam.state(step.parameters)
        weights = [p.detach() for p in step.parameters]
        average = [] if step.average is None else step.average.state(step.parameters)
        self.constant = [
            step.halt,
            step.tally,
            step.good,
            *weights,
            *first,
            *second,
            *average,
            *(t.detach() for t in self.rest),
        ]

    def fits(self, batch: tuple[Tensor, ...]) -> bool:
        """Whether it was compiled for batches like this one."""
        return [(t.shape, t.dtype) for t in batch] == self.shapes

    @torch.no_grad()
    def run(self, batch: tuple[Tensor, ...], noise: Tensor | None, now: float, lr: float) -> None:
        """One step in place."""
        torch._foreach_add_(self.counts, 1)
        self.compiled(*self._arguments(self._knobs(now, lr), noise, batch))

    def _knobs(self, now: float, lr: float) -> Tensor:
        step, count = self.step, max(1, self.step.taken)
        assert step.adam is not None
        numbers = [*step.adam.knobs(lr, count), 0.0 if step.average is None else step.average.rate(count)]
        numbers += [schedule(now) for schedule in self.schedules]
        return torch.tensor(numbers, dtype=step.like.dtype).to(step.like.device)

    def _arguments(self, knobs: Tensor, noise: Tensor | None, batch: tuple[Tensor, ...]) -> list[Tensor]:
        # one layout, whatever view of the data the rows are
        rows = [t.contiguous() for t in batch]
        return [knobs, *([] if noise is None else [noise]), *rows, *self.constant]

    def _traced(self, *tensors: Tensor) -> list[Tensor]:
        step, given = self.step, iter(tensors)
        knobs = next(given)
        noise = next(given) if self.noisy else None
        batch = [next(given) for _ in self.shapes]
        halt, tally, good = next(given), next(given), next(given)
        weights, first, second = ([next(given) for _ in self.names] for _ in range(3))
        average = [next(given) for _ in self.names] if step.average is not None else []
        with torch.enable_grad():
            leaves = [w.detach().requires_grad_() for w in weights]
            table = dict(zip(self.names, leaves, strict=True)) | dict(zip(self.rest_names, given, strict=True))
            moving = iter(knobs[4 + i] for i in range(len(self.schedules)))
            current = step.objective.replaced(lambda s: next(moving))
            loss, sums = nn.utils.stateless.functional_call(_Terms(step), _prefixed(table), (batch, noise, current))
            gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        stop = (halt > 0) | ~loss.detach().isfinite()
        used = [i for i, g in enumerate(gradients) if g is not None]
        grads = [g.detach() for g in gradients if g is not None]
        norm = common_norm(grads)
        if step.options.clip is not None:
            grads = clip_by_norm(grads, norm, step.options.clip)
        assert step.adam is not None
        chosen = [[tensors_[i] for i in used] for tensors_ in (weights, first, second)]
        step.adam.traced(chosen[0], grads, chosen[1:], knobs, stop)
        for mean, weight in zip(average, weights, strict=bool(average)):
            mean.lerp_(weight, knobs[3])
        tally.add_(torch.where(stop, 0.0, _with_square(sums, norm, len(batch[0]))))
        halt.copy_(stop)
        good.add_(1 - halt)
        return [loss.detach()]


class _Terms(nn.Module):
    """``Step.terms`` as the method of a module that holds the model, so that its weights can be replaced."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.vae = step.vae
        self.terms = step.terms

    def forward(self, batch: Sequence[Tensor], noise: Tensor | None, current: Objective) -> tuple[Tensor, ...]:
        """The loss and the sums."""
        return self.terms(batch, noise, current)[:2]


def _with_square(sums: Tensor, norm: Tensor, rows: int) -> Tensor:
    """The sums over rows, with that of the squared norm of the gradient behind them."""
    return torch.cat([sums, (rows * norm.double().square()).reshape(1)])


def _prefixed(table: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"vae.{name}": tensor for name, tensor in table.items()}


def _parts(rows: int, count: int) -> list[slice]:
    """``count`` parts of so many rows, as equal as can be; fewer where there are fewer rows."""
    count = min(count, rows)
    ends = [rows * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def _identity(vae: VAE, objective: Objective) -> Any:
    """What a compiled graph holds as constants: it changes when the graph would be another one."""
    plain = (bool, int, float, str, type(None), tuple)
    modules = [
        (name, type(m), {k: v for k, v in vars(m).items() if isinstance(v, plain)}) for name, m in vae.named_modules()
    ]
    tensors = [
        (name, t.shape, t.dtype, t.data_ptr(), t.requires_grad)
        for name, t in itertools.chain(vae.named_parameters(), vae.named_buffers())
    ]
    return modules, tensors, repr(objective)


def pays(step: Step, rows: int, steps: int) -> tuple[bool, str]:
    """Whether compiling is worth its time for so many steps of so many rows, and the estimate in words.

    It counts parameters and never measures time, so that the same call gives the same form and the same bits.
    """
    if any(isinstance(m, nn.modules.conv._ConvNd) for m in step.vae.modules()):
        return False, "convolutions gain nothing from a compiled step"
    flops = 6 * rows * step.objective.k * sum(p.numel() for p in step.parameters)
    seconds = steps * (_OVERHEAD + flops / _FLOPS)
    words = f"{seconds * _SAVED:.0f} s saved of {seconds:.0f} s, against {_COMPILING:.0f} s to compile (estimates)"
    return seconds * _SAVED > 2 * _COMPILING, words


# a machine of two cores: what a step costs beside its arithmetic, the rate of that, the share that compiling saves, and
# the time that it takes
_OVERHEAD, _FLOPS, _SAVED, _COMPILING = 1e-3, 2e11, 0.4, 12.0


def require_options(options: Options) -> None:
    """Refuse options that make no step.

    Raises:
        InputError: naming the option and what it may be.
    """
    if options.clip is not None and not 0 < options.clip < float("inf"):
        raise InputError(f"clip, the largest norm of the gradient, must be positive, not {options.clip!r}")
    if isinstance(options.accumulate, bool) or not isinstance(options.accumulate, int) or options.accumulate < 1:
        raise InputError(f"accumulate must be a whole number of at least 1, not {options.accumulate!r}")
    if options.ema is not None and not 0 < options.ema < 1:
        raise InputError(f"ema, the decay of the average of weights, must be between 0 and 1, not {options.ema!r}")
