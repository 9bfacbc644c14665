# SPDX-License-Identifier: Apache-2.0
"""Carry out a plan of `prepare`: the container's links, its loader's cache, our files to mount.

When all is decided, before config.json is replaced: a create that is refused leaves nothing.
Whatever is right already is not written, so that a container that starts again does not grow.
Ring: create, for specs with hooks.
"""

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.rootfs import (
    files,
    ldcache,
    library_names,
    links,
    loader_cache,
    loader_config,
    resolver,
)
from nvidia_runtime.store import libraries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.steps import Plan
    from nvidia_runtime.rootfs.ldcache import Row
    from nvidia_runtime.store.libraries import Fact

HINT = 'nvidia-container-runtime.in-container-hooks = "always" leaves it to a hook'


def carry_out(plan: "Plan") -> list[str]:
    """Do what was planned; say what was done, and what could not be.

    Raises `NvidiaRuntimeError` where the container would lack what its devices need.
    """
    done: list[str] = []
    for path, content in plan.files.items():
        _write_file(path, content)
    if not (plan.links or plan.folders or plan.compat):
        return done
    with _open_root(plan.root) as root:
        made = _make_links(root, plan.links)
        if made:
            done.append(f"made {made} links")
        if plan.folders or plan.compat:
            _prepare_loader(root, plan, done)
    return done


def _open_root(path: str) -> resolver.Place:
    try:
        return resolver.open_root(path)
    except (OSError, ValueError) as error:
        what = f"the container's root cannot be opened: {error}"
        raise NvidiaRuntimeError(what, where=path) from None


def _write_file(path: str, content: "bytes | dict[str, str]") -> None:
    """Write a file, or a folder of links, into our state folder, for containers to mount."""
    folder, _, name = path.rpartition("/")
    try:
        with resolver.open_root(folder) as place:
            if isinstance(content, bytes):
                files.replace(place, name, content, 0o444)
                return
            with resolver.walk(place, name, make=True) as below:
                for link, target in content.items():
                    files.link(below, link, target)
    except OSError as error:
        what = f"cannot be written: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=path, hint=HINT) from None


def _make_links(root: resolver.Place, wanted: list[tuple[str, str]]) -> int:
    try:
        return links.make_all(root, wanted)
    except NvidiaRuntimeError as error:
        error.hint = error.hint or HINT
        raise


def _prepare_loader(root: resolver.Place, plan: "Plan", done: list[str]) -> None:
    """Let the loader find the driver's libraries, and in front of them CUDA's newer ones."""
    try:
        known: loader_cache.Known | None = loader_cache.read(root)
    except loader_cache.UnknownFormatError as error:
        done.append(f"/etc/ld.so.cache is left as it is: {error}")
        known = None
    gone: list[bytes] = []
    rows = _compatible(root, plan, known, gone, done) if plan.compat else []
    rows += _driver_rows(root, plan, done)
    failed = _add(root, plan, known, rows, gone, done) if known else "its format is unknown"
    if known and known.trouble:
        done.append(f"/etc/ld.so.cache was made anew, since it {known.trouble}")
    try:
        _name_folders(root, plan.folders, known, done)
    except (OSError, ValueError) as error:
        reason = os_reason(error)
        what = f"ld.so.conf.d cannot be written: {reason}"
        if failed:  # neither of both: the driver's libraries would not be found
            raise NvidiaRuntimeError(what, where="/etc", hint=HINT) from None
        done.append(what)


def _add(  # noqa: PLR0917 (each is needed, and it has one caller)
    root: resolver.Place,
    plan: "Plan",
    known: loader_cache.Known,
    rows: "list[Row]",
    gone: list[bytes],
    done: list[str],
) -> str:
    """Write the cache; where that cannot be, say why: links and ld.so.conf.d have to do."""
    try:
        if loader_cache.add(root, known, rows, gone, plan.state):
            done.append(f"added {len(rows)} libraries to /etc/ld.so.cache")
    except OSError as error:
        done.append(f"/etc/ld.so.cache cannot be written: {os_reason(error)}")
        return os_reason(error)
    return ""


def _compatible(
    root: resolver.Place,
    plan: "Plan",
    known: loader_cache.Known | None,
    gone: list[bytes],
    done: list[str],
) -> "list[Row]":
    """Decide on CUDA's compatibility libraries; return their rows, which come first.

    What an earlier start decided, with an older driver, is taken back.
    """
    from nvidia_runtime.rootfs import cuda_compat  # only for specs with this verb

    assert plan.compat  # for mypy
    found = cuda_compat.decide(root, *plan.compat)
    done.append(
        f"CUDA compatibility libraries {'' if found.folder else 'not '}used: {found.reason}"
    )
    if not found.folder:
        for folder in loader_config.remove(root, loader_config.COMPAT):
            start = resolver.encode(folder) + b"/"
            gone += [path for path in (known.paths() if known else ()) if path.startswith(start)]
        return []
    from nvidia_runtime.rootfs import loader  # few images have such libraries

    loader_config.write(root, loader_config.COMPAT, [found.folder])
    return loader.scan(root, found.folder, frozenset(), done)


def _driver_rows(root: resolver.Place, plan: "Plan", done: list[str]) -> "list[Row]":
    """Return the rows of the libraries that will be mounted, after making the links by soname."""
    rows: list[Row] = []
    facts = libraries.Facts(plan.state)
    for folder in plan.folders:
        found = [
            (library.name, facts.identify(library.source))
            for library in plan.libraries
            if library.folder == folder
        ]
        rows += _rows_of(root, folder, found, plan.links, done)
    facts.write()
    return rows


def _rows_of(
    root: resolver.Place,
    folder: str,
    found: "list[tuple[str, Fact | None]]",
    made: list[tuple[str, str]],
    done: list[str],
) -> "list[Row]":
    """Return the rows of a folder's libraries; of two of one soname the higher version counts."""
    path = resolver.encode(folder)
    chosen: dict[bytes, bytes] = {}
    flags_of: dict[bytes, int] = {}
    order = library_names.order
    for text, fact in found:
        if fact is None:
            continue
        name = resolver.encode(text)
        soname = fact[0] or name
        flags_of[name] = fact[1]
        if library_names.is_soname(soname):
            flags_of[soname] = fact[1]
            if soname not in chosen or order(name) > order(chosen[soname]):
                chosen[soname] = name
    rows = [(soname, flags_of[name], b"%s/%s" % (path, soname)) for soname, name in chosen.items()]
    _link_sonames(root, folder, chosen, done)
    for text, target in made:  # libcuda.so, say, for ldconfig a library of its own
        place, _, link = text.rpartition("/")
        name = resolver.encode(link)
        base = resolver.encode(target.rpartition("/")[2])
        flags = flags_of.get(base)
        # As ldconfig has it: libcuda.so is one beside libcuda.so.1, any other link is only a link.
        is_one = name.endswith(b".so") and base.startswith(name)
        if place == folder and flags and is_one and name not in chosen:
            rows.append((name, flags, b"%s/%s" % (path, name)))
    return rows


def _link_sonames(
    root: resolver.Place, folder: str, chosen: dict[bytes, bytes], done: list[str]
) -> None:
    """Make the links by which the loader knows the files; a file of that name is none's to take."""
    names = set(chosen.values())
    with resolver.walk(root, folder, make=True) as place:
        for soname, name in chosen.items():
            link = soname.decode("utf-8", "surrogateescape")
            if soname in names or files.read_link(place, link) == name:
                continue
            if files.is_free(place, link):
                files.link(place, link, name.decode("utf-8", "surrogateescape"))
            else:
                done.append(f"{folder}/{link} is a file of the image's")


def _name_folders(
    root: resolver.Place, folders: list[str], known: loader_cache.Known | None, done: list[str]
) -> None:
    """Name the folders that the image's own ldconfig would not look at, and musl's loader."""
    empty = loader_cache.Known(ldcache.Cache(), "")
    new = [
        folder for folder in folders if not loader_cache.is_scanned(root, known or empty, folder)
    ]
    if new and loader_config.extend(root, loader_config.OURS, new):
        done.append(f"wrote {loader_config.FOLDER}/{loader_config.OURS}")
    if new:
        loader_config.include(root)
    if loader_config.has_musl(root):
        defaults = loader_config.MUSL_FOLDERS
        elsewhere = [folder for folder in folders if folder not in defaults]
        if elsewhere and loader_config.write_musl(root, elsewhere, defaults):
            done.append("named the folders to musl's loader")
