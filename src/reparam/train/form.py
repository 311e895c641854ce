"""Whether the steps of a run are compiled: decided once, by estimate or by order, and kept when the run is resumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from torch import Tensor

from reparam.engine import Uncompilable
from reparam.errors import InputError
from reparam.train.checkpoint import Position
from reparam.train.step import Step, pays

Compile = Literal["auto"] | bool


class Form:
    """Compiles the step before its second batch, where that is asked for or pays.

    The first step of a run is always eager: it makes the optimiser's state, and shows what a model does in Python.
    ``say`` gets one line about what was decided and why.
    """

    def __init__(
        self, asked: Compile | str, step: Step, position: Position, rows: int, say: Callable[[str], None]
    ) -> None:
        self.asked, self.step, self.position, self.rows, self.say = asked, step, position, rows, say
        self.settled = False
        self.notes: list[str] = []

    def __call__(self, batch: tuple[Tensor, ...], steps: int) -> None:
        """Settle the form before a step on this batch, of so many in the run; what is compiled is for ``rows`` rows."""
        if self.settled:
            return
        if self.position.compiled is None:
            self.position.compiled = self._decide(steps)
        if self.position.compiled and (not self.step.begun() or len(batch[0]) != self.rows):
            return
        self.settled = True
        if self.position.compiled:
            self._compile(batch)

    def _decide(self, steps: int) -> bool:
        if self.asked is False:
            return False
        obstacle = self.step.obstacle(forced=self.asked is True)
        if self.asked is True and obstacle is not None:
            raise InputError(f"compile=True: {obstacle}; compile='auto' goes on without")
        if self.asked is True:
            return True
        worth, words = pays(self.step, self.rows, steps)
        if worth and obstacle is not None:
            self._note(f"the step is not compiled: {obstacle}")
        elif worth:
            self.say(f"compiling the step: {words}")
        return worth and obstacle is None

    def _compile(self, batch: tuple[Tensor, ...]) -> None:
        began = time.monotonic()
        try:
            self.step.compile(batch)
        except Uncompilable as error:
            if self.asked is True:
                raise InputError(f"compile=True: {error}; compile='auto' goes on without") from error
            self._note(f"the step is not compiled: {error}")
        else:
            self.say(f"compiled in {time.monotonic() - began:.0f} s")

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)
