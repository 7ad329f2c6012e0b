"""Where features lie in packed rows of several views: their heads, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.packing import RowSchema


@dataclass(frozen=True)
class Cells:
    """Where features of one width lie.

    Attributes
    ----------
    places
        # [features * width], of each byte of each feature in the heads
    null_bytes, null_masks
        # [features], where it says that a feature is null
    """

    places: NDArray[np.int64]
    null_bytes: NDArray[np.int64]
    null_masks: NDArray[np.uint8]


class Heads:
    """The heads of the views of one request, found once for all requests.

    Parameters
    ----------
    views
        Their names.
    schemas
        # [views]
    view_of
        The view of each feature that may be asked for.

    Attributes
    ----------
    widths
        # [views], bytes of each head
    width
        Bytes of all heads.
    lengths
        Where the lengths of all texts and arrays lie, in the order of their bytes.
    variable
        Number of each text or array in that order, by name.
    """

    def __init__(
        self, views: tuple[str, ...], schemas: tuple[RowSchema, ...], view_of: Mapping[str, str]
    ) -> None:
        self.widths = [schema.head_width for schema in schemas]
        self.width = sum(self.widths)
        begins = np.cumsum([0, *self.widths]).tolist()
        self._view_of = view_of
        self._of_view = dict(zip(views, zip(schemas, begins[:-1], strict=True), strict=True))
        # Also of features that nobody asks for: what they hold lies between the others.
        variable = [
            (view, name) for view in views for name in self._of_view[view][0].variable_names
        ]
        self.lengths = self._find(variable, 4)
        self.variable = {
            name: number
            for number, (view, name) in enumerate(variable)
            if view_of.get(name) == view
        }
        self._cells: dict[tuple[tuple[str, ...], int], Cells] = {}

    def cells(self, names: tuple[str, ...], width: int) -> Cells:
        """Where features of so many bytes each lie.

        A text or an array has 4: its length.
        """
        known = self._cells.get((names, width))
        if known is None:
            pairs = [(self._view_of[name], name) for name in names]
            known = self._cells[names, width] = self._find(pairs, width)
        return known

    def _find(self, features: list[tuple[str, str]], width: int) -> Cells:
        places, null_bytes, null_masks = [], [], []
        for view, name in features:
            schema, begin = self._of_view[view]
            byte, mask = schema.null_bit(name)
            places.append(begin + schema.head_place(name))
            null_bytes.append(begin + byte)
            null_masks.append(mask)
        return Cells(
            (np.array(places, np.int64)[:, None] + np.arange(width)).reshape(-1),
            np.array(null_bytes, np.int64),
            np.array(null_masks, np.uint8),
        )
