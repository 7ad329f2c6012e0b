"""Gradient-boosted trees, fitted by scikit-learn and kept as flat arrays of nodes.

scikit-learn saves its models by pickle, which executes what it reads. The arrays here are plain
numbers, and reading them again needs no scikit-learn.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainer.config import FitConfig
from trainer.models.classifier import ClassRows
from trainer.models.softmax_regression import softmax

_PATIENCE = 15
_ROWS = 20_000  # rows walked at a time


class TreeEnsemble:
    """Sums of trees, one sum a class; of two classes, one sum for the second.

    Parameters
    ----------
    baseline
        # [sums], the scores before the first tree
    roots, sums
        # [trees], the first node of each tree and the sum that it adds to
    columns, thresholds, left, right, values
        # [nodes]; a row goes left where its column is at most the threshold. A leaf leads to
        itself and holds a value.
    depth
        Steps after which every row is in a leaf.
    """

    def __init__(
        self,
        baseline: NDArray,
        roots: NDArray,
        sums: NDArray,
        columns: NDArray,
        thresholds: NDArray,
        left: NDArray,
        right: NDArray,
        values: NDArray,
        depth: NDArray,
    ) -> None:
        self.baseline = baseline
        self.roots = roots
        self.sums = sums
        self.columns = columns
        self.thresholds = thresholds
        self.left = left
        self.right = right
        self.values = values
        self.depth = depth

    @classmethod
    def fit(cls, rows: ClassRows, config: FitConfig) -> Self:
        """Add trees until the held-out loss stops falling."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        settings = config.boosting
        stops = len(rows.held_labels) > 0
        model = HistGradientBoostingClassifier(
            learning_rate=settings.learning_rate,
            max_iter=settings.iterations,
            max_leaf_nodes=settings.leaves,
            min_samples_leaf=settings.leaf_rows,
            max_features=settings.columns,
            l2_regularization=settings.penalty,
            early_stopping=stops,
            n_iter_no_change=_PATIENCE,
            random_state=config.seed,
        )
        held = {"X_val": rows.held_matrix, "y_val": rows.held_labels} if stops else {}
        if stops:
            held["sample_weight_val"] = rows.held_weights
        model.fit(rows.matrix, rows.labels, sample_weight=rows.weights, **held)
        return cls._from_fitted(model)

    @classmethod
    def _from_fitted(cls, model: object) -> Self:
        # scikit-learn shows its trees nowhere in public; a test holds our sums equal to its own.
        iterations = model._predictors  # type: ignore[attr-defined]
        baseline = model._baseline_prediction  # type: ignore[attr-defined]
        trees = [(place, tree.nodes) for trees in iterations for place, tree in enumerate(trees)]
        sizes = np.array([len(nodes) for _, nodes in trees], dtype=np.int64)
        roots = np.cumsum(sizes) - sizes
        nodes = np.concatenate([nodes for _, nodes in trees])
        begin = np.repeat(roots, sizes)
        own = np.arange(len(nodes))
        leaf = nodes["is_leaf"].astype(bool)
        return cls(
            baseline=np.asarray(baseline, dtype=np.float64).reshape(-1),
            roots=roots,
            sums=np.array([place for place, _ in trees], dtype=np.int64),
            columns=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
            thresholds=np.where(leaf, 0.0, nodes["num_threshold"]).astype(np.float64),
            left=np.where(leaf, own, begin + nodes["left"]).astype(np.int64),
            right=np.where(leaf, own, begin + nodes["right"]).astype(np.int64),
            values=np.where(leaf, nodes["value"], 0.0).astype(np.float64),
            depth=np.array([int(nodes["depth"].max())]),
        )

    def scores(self, matrix: NDArray) -> NDArray[np.float64]:
        """The sums; # [rows, sums]."""
        answer = np.tile(self.baseline, (len(matrix), 1))
        for begin in range(0, len(matrix), _ROWS):
            block = matrix[begin : begin + _ROWS].astype(np.float64)
            every = np.arange(len(block))
            for root, place in zip(self.roots, self.sums, strict=True):
                node = np.full(len(block), root)
                for _ in range(int(self.depth[0])):
                    goes_left = block[every, self.columns[node]] <= self.thresholds[node]
                    node = np.where(goes_left, self.left[node], self.right[node])
                answer[begin : begin + _ROWS, place] += self.values[node]
        return answer

    def probabilities(self, matrix: NDArray) -> NDArray[np.float64]:
        """Probability of each class; # [rows, classes]."""
        scores = self.scores(matrix)
        if scores.shape[1] == 1:
            scores = np.hstack([np.zeros_like(scores), scores])
        return softmax(scores)

    def to_arrays(self) -> dict[str, NDArray]:
        """The fitted state."""
        return dict(vars(self))

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Self:
        """What :meth:`to_arrays` described."""
        return cls(**arrays)
