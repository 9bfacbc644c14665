# SPDX-License-Identifier: Apache-2.0
"""An installation from its beginning to its end: the steps, the wait, and what is taken back."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from nvidia_runtime.engines import supported, write
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.installer import (
    hook_file,
    management,
    options,
    plugin,
    readiness,
    record,
    rereading,
    settings,
    stopping,
    telling,
    tree,
    wrappers,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.installer.options import Options
    from nvidia_runtime.installer.stopping import Stop
    from nvidia_runtime.installer.tree import Bundle

    Say = Callable[[str], None]

# Seconds between looks at the driver, at the plugin, and for trees that nobody uses any more.
PERIOD = 5.0


class Installing:
    """An installation that has the lock."""

    def __init__(self, wanted: Options, stop: Stop, say: Say, warn: Say) -> None:
        self.options, self.stop, self.say, self.warn = wanted, stop, say, warn
        self.bundle: Bundle | None = None
        self.place = wanted.installation
        self.record = record.load(self.place)
        self.tree = ""
        self.driver = self.problem = ""
        self.plugin: plugin.Plugin | None = None

    def install(self) -> None:
        """Do all steps in the toolkit's order; what is done already is left as it is."""
        readiness.withdraw(self.place)
        steps = (self._copy, self._describe, self._tell, self._start)
        for step in steps:
            self.stop.check()
            step()
        self.stop.check()
        readiness.report(self.place, self.tree)
        self.say(f"ready: {self.place.toolkit} is {os.path.basename(self.tree)}")

    def _copy(self) -> None:
        """Write the tree and its config.toml, and have the link name it."""
        link = self.place.toolkit
        tree.sweep(link)
        tree.remove_old(link, is_alone=True)
        bundle = self.bundle or tree.read(self.place.source)
        runtimes = self._low_level()
        design = tree.Design(bundle=bundle, link=link, runtimes=tuple(runtimes))
        self.tree, is_there = tree.place(design)
        wanted = settings.values(self.options, runtimes)
        # A program that another toolkit had there is not in this tree.
        ours = {f"{settings.CLI}.path": f"{link}/{wrappers.CLI}", **self.record.settings}
        config = settings.text(f"{link}/{wrappers.CONFIG}", wanted, ours)
        self.record.settings = wanted
        record.save(self.place, self.record)
        if is_there:
            settings.write(f"{self.tree}/{wrappers.CONFIG}", config)
        else:
            self.say(f"writing {self.tree}")
            tree.write(design, self.tree, config)
        tree.turn(link, self.tree)

    def _low_level(self) -> list[str]:
        if self.options.runtimes:
            return list(self.options.runtimes)
        if not self.options.engine.is_configured:
            return list(telling.STOCK)
        return telling.low_level(self.options.engine)

    def _describe(self) -> None:
        """Make nodes and the CDI spec, as soon as there is a driver."""
        if not management.is_wanted(self.options):
            return
        self.driver = management.driver()
        if not self.driver:
            self.say("the driver is not loaded yet; the CDI spec is written when it is")
            return
        try:
            management.make_nodes(self.options, self.say)
            spec = management.write(self.options, self.warn)
        except NvidiaRuntimeError as error:
            self.driver = ""  # once more, later: it is being loaded
            if str(error) != self.problem:
                self.warn(f"no CDI spec of this machine yet: {error}")
            self.problem = str(error)
            return
        self.problem = ""
        if spec != self.record.spec:
            if self.record.spec and self.record.spec[0] != spec[0]:
                management.remove(self.record.spec, self.warn)
            self.record.spec = spec
            record.save(self.place, self.record)
            self.say(f"wrote {spec[0]}")

    def _tell(self) -> None:
        """Write the engine's files, and have it read them."""
        engine = self.options.engine
        if not engine.is_configured:
            return
        os.environ["STATE_DIRECTORY"] = record.folder(self.place)  # of the engines' journal
        wanted = record.of_engine(engine)
        self._put_back()
        if self.record.engine not in ({}, wanted):
            self._take_back_earlier()
        self.record.engine = wanted
        since = self._unread(engine)
        # Before the files change: who is killed then has them read by the next run.
        self.record.unread = since or time.time()
        record.save(self.place, self.record)
        if engine.has_hook:
            written = hook_file.write(engine, self.place.toolkit, self.record)
        else:
            written = telling.configure(engine, self.place.toolkit, self.warn)
        for path in written:
            self.say(f"wrote {path}")
        if written or since:
            self.record.unread = time.time()
            record.save(self.place, self.record)
            # An engine that does not come back: a signal ends that, and the files are put back.
            rereading.carry_out(engine, self.say, wait=self.stop.pause)
        self.record.unread = 0.0
        record.save(self.place, self.record)

    def _unread(self, engine: options.Engine) -> float:
        """Return since when an earlier run's files wait for being read, 0 if none do."""
        since = self.record.unread
        return 0.0 if since and rereading.has_begun_since(engine, since) else since

    def _take_back_earlier(self) -> None:
        """Take back what an engine was told by a run with other flags."""
        earlier = self.record.engine
        if earlier.get("name") in supported.NAMES:
            engine = replace(self.options.engine, **earlier)
            written = telling.unconfigure(engine, self.place.toolkit, self.warn)
            for path in (*written, *hook_file.remove(self.record, self.warn)):
                self.say(f"took back what {path} had for an earlier run")

    def _forget_default(self, engine: options.Engine) -> None:
        """Have docker take another default, which it would keep otherwise."""
        if rereading.way_of(engine) != rereading.SIGNAL:
            record.save(self.place, self.record)
            return
        change = telling.without_default(engine)
        if not change or change.before is None or change.after is None:
            record.save(self.place, self.record)
            return
        self.record.aside = [change.path, change.after, change.before]
        record.save(self.place, self.record)
        telling.swap(change.path, change.before, change.after)
        rereading.carry_out(engine, lambda _: None)
        rereading.forgets_default(engine)
        self._put_back()
        record.save(self.place, self.record)

    def _put_back(self) -> None:
        """Write a file's own text that was put aside for a moment."""
        if len(self.record.aside) == 3:
            telling.swap(*self.record.aside)
        self.record.aside = []

    def _start(self) -> None:
        if self.options.nri.is_on and self.place.is_daemon:
            self.plugin = plugin.Plugin(self.options.nri, self.tree)
            self.plugin.keep()

    def wait(self) -> None:
        """Wait for a signal, and look after what changes meanwhile."""
        while not self.stop.wait(PERIOD):
            with contextlib.suppress(OSError):  # the next start tries it again
                tree.remove_old(self.place.toolkit, is_alone=False)
            if self.plugin:
                self.plugin.keep()
            if management.is_wanted(self.options) and management.driver() != self.driver:
                self._describe()
        self.say(f"ending: {self.stop.signal}")

    def clean_up(self) -> None:
        """Take back what the engine was told.

        The tree stays, by which containers that run are stopped; so does the CDI spec.
        """
        if self.plugin:
            self.plugin.end()
        readiness.withdraw(self.place)
        if not self.record.engine:
            return
        engine = replace(self.options.engine, **self.record.engine)
        os.environ["STATE_DIRECTORY"] = record.folder(self.place)
        since = self._unread(engine)
        self.record.unread = since or time.time()
        self._put_back()
        self._forget_default(engine)
        written = telling.unconfigure(engine, self.place.toolkit, self.warn)
        written += hook_file.remove(self.record, self.warn)
        for path in written:
            self.say(f"took back what was written to {path}")
        if written or since:
            rereading.carry_out(engine, self.say)
        self.record.engine, self.record.unread = {}, 0.0
        record.save(self.place, self.record)


def run(wanted: Options, say: Say, warn: Say) -> None:
    """Install, wait for a signal, and clean up."""
    options.check(wanted)
    place = wanted.installation
    os.umask(0o022)  # others read the tree
    bundle = tree.read(place.source)  # before anything is touched
    with stopping.noticed() as stop, readiness.locked(place.pid_file):
        installing = Installing(wanted, stop, say, warn)
        installing.bundle = bundle
        try:
            installing.install()
            if not place.is_daemon:
                return
            installing.wait()
        except stopping.StoppedError:
            say(f"ending: {stop.signal}")
        installing.clean_up()


def remove(wanted: Options, say: Say, warn: Say) -> None:
    """Take everything back: the engine's files, the CDI spec, the trees, and what we know."""
    options.check(wanted)
    place = wanted.installation
    with stopping.noticed() as stop, readiness.locked(place.pid_file):
        installing = Installing(wanted, stop, say, warn)
        if wanted.engine.is_configured and record.is_damaged(place):
            # What the engine still names would be gone.
            installing.record.engine = record.of_engine(wanted.engine)
            told = f"{record.folder(place)}/{record.NAME} cannot be used"
            warn(f"{told}: {wanted.engine.name}'s files are looked for by the flags of this call")
        installing.clean_up()
        management.remove(installing.record.spec, warn)
        link = place.toolkit
        is_there = tree.all_of(link) or os.path.lexists(record.folder(place))
        for path in tree.all_of(link):
            if tree.is_used(path):
                raise NvidiaRuntimeError("is used by a process, and stays", path)
        if tree.current_of(link):
            tree.discard(link)
        for path in tree.all_of(link):
            tree.discard(path)
        tree.sweep(link)
        tree.discard(record.folder(place))
        for folder in reversed(installing.record.folders):
            write.remove_folder(folder)
        say(f"removed {link}" if is_there else f"nothing is installed in {place.folder}")
