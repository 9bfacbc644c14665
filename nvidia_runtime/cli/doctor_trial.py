# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk doctor --try: a small container through each engine, removed after Ctrl-C, too."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NoReturn

from nvidia_runtime.doctor import examination, trial
from nvidia_runtime.doctor.finding import Finding, Step
from nvidia_runtime.doctor.trial import check_name

if TYPE_CHECKING:
    from nvidia_runtime.cli.screen import Progress
    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

AREA = "trial"
__all__ = ("answers", "check_name")


def answers(subject: Subject, name: str, progress: Progress) -> dict[str, list[Said]]:
    """Return what the trial says of an engine, or of all, while its progress is shown."""
    listed: list[Said] = []
    with _ended_in_order(), closing(trial.check(subject, name)) as said:
        try:
            for one in said:
                if isinstance(one, Step):
                    progress.text = f"trying {one.what}"
                else:
                    listed.append(one)
        except Exception as error:
            # What the areas have said is not lost.
            if subject.is_debugging:
                raise
            what = f"the trial: {type(error).__name__}: {error}"
            listed.append(Finding(code=examination.CRASHED, what=what))
    return {AREA: listed}


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end us as Ctrl-C does, so that what was started is removed."""

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    # nohup(1) has a program ignore SIGHUP.
    before = {n: old for n in numbers if (old := signal.getsignal(n)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
