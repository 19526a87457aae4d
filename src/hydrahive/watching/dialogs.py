"""What lies over the view for a moment: help, and the question before a run is ended."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Static

HELP = """[b]Watching a run[/b]

The board shows one environment as it is trained: some steps in a row, then later ones.
What lies between is counted as not shown. Nothing you do here but the first three keys
changes the run, and none of them changes a byte of what it computes.

[b]p[/b]  pause the run               [b]c[/b]  have it go on
[b]x[/b]  end it at its newest boundary; the same train command resumes it

[b]n[/b] [b]N[/b]  next, previous environment
[b]t[/b]  turbo: no frames            [b]s[/b]  write the snapshot report
[b]1[/b]-[b]6[/b]  the tabs                 [b]q[/b]  leave; the run goes on

Any key closes this.
"""


class Help(ModalScreen[None]):
    """The keys."""

    def compose(self) -> ComposeResult:
        """The text, which scrolls where it does not fit."""
        with VerticalScroll(classes="dialog"):
            yield Static(HELP)

    def on_key(self, event: Key) -> None:
        """Any key closes it, and does nothing else."""
        event.stop()
        event.prevent_default()
        if self.is_current:
            self.dismiss()


class Confirm(ModalScreen[bool]):
    """A question that is answered with y or n."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        """Ask."""
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question."""
        with VerticalScroll(classes="dialog"):
            yield Static(f"{self._question}\n\ny yes    n no", markup=False)

    def action_answer(self, answer: bool) -> None:
        """Take the answer, once."""
        if self.is_current:
            self.dismiss(answer)
