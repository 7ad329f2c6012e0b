"""Publishing a snapshot: every view goes into force at one instant, or none does.

A publication is a folder ``.published/<number>/`` with ``features/``, ``labels/`` and
``build.json``. The link ``.published/current`` names the one in force and is replaced by a rename,
so that every view changes at one instant; ``features`` and ``labels`` beside the warehouse are
fixed links through it.
"""

import json
import os
import shutil
from pathlib import Path

FOLDERS = ("features", "labels")
BUILD = "build.json"


def prepare(warehouse: str) -> str:
    """Make the folders of a home and return its absolute path."""
    home = Path(warehouse).absolute().parent
    for folder in FOLDERS:
        (home / ".built" / folder).mkdir(parents=True, exist_ok=True)
    (home / "reports").mkdir(exist_ok=True)
    return str(home.resolve())


def sweep(home: str, kept: str) -> str:
    """Delete the built files that are not in ``kept``, a JSON list of paths."""
    keeps = set(json.loads(kept))
    for folder in FOLDERS:
        for file in (Path(home) / ".built" / folder).iterdir():
            if str(file) not in keeps:
                file.unlink()
    return home


def keep(partial: str) -> str:
    """Give a finished `<name>.partial` its name. A killed write never looks like a whole file."""
    os.replace(partial, partial.removesuffix(".partial"))
    return partial


def publish(home: str, views: str, log_read_at: str) -> str:
    """Publish what was built together with what is in force and was not built again.

    Parameters
    ----------
    home : str
        The folder that :func:`prepare` returned.
    views : str
        JSON list of ``[folder, view, file]``: every published model of the project, with the file
        that this build made of it (or the folder of files), or an empty text. Any other file in
        force belongs to a model that is gone and is left out.
    log_read_at : str
        An instant before the log was read, ISO 8601; an empty text where it was not read again.

    Returns
    -------
    str
        One line that says what was published.
    """
    root = Path(home)
    published = root / ".published"
    current = published / "current"
    in_force = current.resolve() if current.is_symlink() else None
    snapshots = [path for path in published.glob("[0-9]*") if path.is_dir()]
    number = max((int(path.name) for path in snapshots), default=0) + 1
    made = published / f"making-{number}"
    shutil.rmtree(made, ignore_errors=True)
    fresh = 0
    for folder in FOLDERS:
        (made / folder).mkdir(parents=True)
    for folder, view, built in json.loads(views):
        target = made / folder / f"{view}.parquet"
        kept = in_force / folder / f"{view}.parquet" if in_force else None
        if built:
            _link(Path(built), target)
            fresh += 1
        elif kept is not None and kept.exists():
            _link(kept, target)
    noted = made / BUILD
    if log_read_at:
        noted.write_text(json.dumps({"log_read_at": log_read_at}) + "\n", encoding="utf-8")
    elif in_force and (in_force / BUILD).exists():
        os.link(in_force / BUILD, noted)
    os.replace(made, published / str(number))
    _replace_link(current, str(number))
    for folder in FOLDERS:
        link = root / folder
        if not link.is_symlink():
            _replace_link(link, f".published/current/{folder}")
    # The snapshot that was in force stays for one more build: a reader may have just opened it.
    for old in snapshots:
        if old != in_force:
            shutil.rmtree(old, ignore_errors=True)
    where = " and ".join(str(root / folder) for folder in FOLDERS)
    return f"{fresh} of {len(json.loads(views))} views are new in {where}"


def write_report(home: str, name: str, content: str) -> str:
    """Write a JSON report whole or not at all."""
    target = Path(home) / "reports" / name
    write_whole(target, json.dumps(json.loads(content), indent=2) + "\n")
    return str(target)


def write_whole(target: Path, text: str) -> None:
    """Replace a text file at one instant."""
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, target)


def _link(made: Path, target: Path) -> None:
    """Name a built file once more, or the files of the folder that Spark makes of a view."""
    if made.is_file():
        os.link(made, target)
        return
    target.mkdir()
    for file in made.glob("*.parquet"):
        os.link(file, target / file.name)


def _replace_link(link: Path, target: str) -> None:
    partial = link.with_name(f".{link.name}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    os.replace(partial, link)
