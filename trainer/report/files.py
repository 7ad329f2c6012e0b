"""Pages as one file each, with nothing to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feature_repo.atomic import replacing


def write_page(path: Path, template: str, **content: Any) -> Path:
    """Write a page and return its path.

    Parameters
    ----------
    path
        Of the file.
    template
        Name of the template in this folder.
    content
        What it shows.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**content)
    with replacing(path) as fresh:
        fresh.write_text(page, encoding="utf-8")
    return path
