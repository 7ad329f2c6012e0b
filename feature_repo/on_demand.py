"""On-demand feature views: what depends on when somebody asks, computed from what is stored.

A view that holds instants, as `user_recency` does, gets an on-demand view ``<view>_elapsed`` with
``seconds_since_<what>`` for each ``<what>_at``. The time of asking comes with the request, as the
column ``asked_at`` of an entity frame or the key of an online entity row.
"""

import inspect
from collections.abc import Iterable
from types import FunctionType
from typing import TYPE_CHECKING

import pandas as pd

from feature_repo.manifest import View

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

ASKED_AT = "asked_at"
_INSTANT = "_at"


def elapsed_views(
    views: Iterable[View], feature_views: dict[str, "FeatureView"]
) -> dict[str, "OnDemandFeatureView"]:
    """Return the on-demand view of each of `views` that holds instants, by the view's name.

    Parameters
    ----------
    views : iterable of View
        What dbt published.
    feature_views : dict of str to FeatureView
        The feature view of each, by name.
    """
    return {
        view.name: _elapsed_view(view.name, instants, feature_views[view.name])
        for view in views
        if (instants := instants_of(view))
    }


def instants_of(view: View) -> tuple[str, ...]:
    """Return the features of a view that are instants called ``<what>_at``."""
    return tuple(
        column.name
        for column in view.features
        if column.data_type == "TIMESTAMP" and column.name.endswith(_INSTANT)
    )


def elapsed_name(instant: str) -> str:
    """Return what the time since an instant is called: ``seconds_since_<what>``."""
    return f"seconds_since_{instant.removesuffix(_INSTANT)}"


def seconds_since(inputs: pd.DataFrame, instants: dict[str, str]) -> pd.DataFrame:
    """Return the whole seconds from each instant to the time of asking.

    Feast keeps this function as text and runs it where the views are read: it must not use
    anything of this module.

    Parameters
    ----------
    inputs : pandas.DataFrame
        # [rows], with ``asked_at`` and the columns of the instants; a naive time is UTC.
    instants : dict of str to str
        Column of each result, by its name.

    Returns
    -------
    pandas.DataFrame
        # [rows], a nullable integer column a result: null where the instant is, 0 where it lies
        after the time of asking.
    """

    # An online store holds whole seconds, cut off: offline, too, the same two are compared.
    def whole_seconds(column):
        return pd.to_datetime(column, utc=True, format="ISO8601").dt.floor("s")

    asked = whole_seconds(inputs["asked_at"])
    elapsed = {
        name: (asked - whole_seconds(inputs[instant])) // pd.Timedelta(seconds=1)
        for name, instant in instants.items()
    }
    return pd.DataFrame(elapsed).clip(lower=0).astype("Int64")


def _elapsed_view(
    name: str, instants: tuple[str, ...], source: "FeatureView"
) -> "OnDemandFeatureView":
    from feast import Field, OnDemandFeatureView, RequestSource
    from feast.types import Int64, UnixTimestamp

    results = {elapsed_name(instant): instant for instant in instants}
    function, text = _bound(results)
    return OnDemandFeatureView(
        name=f"{name}_elapsed",
        description=(
            f"Whole seconds from each instant of {name} to {ASKED_AT}, the time of asking; null "
            "where the instant is null, 0 where it lies later."
        ),
        sources=[
            source[list(instants)],
            RequestSource(
                name="time_of_asking",
                schema=[Field(name=ASKED_AT, dtype=UnixTimestamp)],
                description="When the answer is for; a naive time is UTC.",
            ),
        ],
        # Without descriptions: Feast compares a field with what it infers, which has none.
        schema=[Field(name=result, dtype=Int64) for result in results],
        mode="pandas",
        udf=function,
        udf_string=text,
    )


def _bound(results: dict[str, str]) -> tuple[FunctionType, str]:
    """Return `seconds_since` for these results, and its text: Feast gives it the inputs alone."""
    parameter = "instants: dict[str, str]"
    text = inspect.getsource(seconds_since).replace(parameter, f"{parameter} = {results!r}", 1)
    code, name = seconds_since.__code__, seconds_since.__name__
    function = FunctionType(code, {"pd": pd}, name, (results,))
    # Feast pickles it beside the text; as part of this module it could be read only where that is.
    function.__module__ = "__main__"
    return function, text
