"""Training on two columns of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rgru._cli.columns import find_sequences, find_target
from rgru._cli.errors import explained
from rgru._cli.hyper_parameters import options_named
from rgru._cli.readers import open_table
from rgru._cli.targets import default_task, targets
from rgru._data.arrow_columns import ragged_from_arrow
from rgru._data.column_names import quoted
from rgru._files.model_file import save
from rgru.estimators import GRUClassifier, GRURegressor
from rgru.estimators._sequences import check_finite

if TYPE_CHECKING:
    from rgru._data.ragged import Ragged


@dataclass(frozen=True, eq=False)
class Training:
    """An estimator, and the columns of a table that it is to be trained on.

    Attributes
    ----------
    estimator : GRUClassifier or GRURegressor
    x : Ragged
    y : array_like
        A result of `targets`.
    table : str
        The table's name, for errors.
    columns : dict
        The names of the columns of sequences and of the target, for the model file.
    """

    estimator: GRUClassifier | GRURegressor
    x: Ragged
    y: Any
    table: str
    columns: dict[str, Any]

    @classmethod
    def read(
        cls,
        data: str,
        *,
        sequence: list[str] | None = None,
        target: str | None = None,
        task: str | None = None,
        parameters: dict[str, Any],
    ) -> Training:
        """Read a table.

        Raises
        ------
        CommandError
            If the table cannot be read, or its columns are not sequences and targets.
        """
        import pyarrow as pa

        with open_table(data) as table:
            names = find_sequences(table, sequence)
            target_name = find_target(table, target, names)
            fields = [field for field in table.schema if field.name in (*names, target_name)]
            batches = list(table.batches([field.name for field in fields]))
            whole = pa.Table.from_batches(batches, pa.schema(fields))
        classify = (task or default_task(whole.schema.field(target_name).type)) == "classify"
        estimator: GRUClassifier | GRURegressor = GRUClassifier() if classify else GRURegressor()
        with explained(table.name):
            x = ragged_from_arrow(whole[names[0]] if len(names) == 1 else whole.select(names), name=quoted(names))
            check_finite(quoted(names), x)
            y = targets(whole[target_name], target_name, classify, parameters.get("pooling") == "every")
        estimator.set_params(**parameters)
        return cls(estimator, x, y, table.name, {"sequence": names, "target": target_name})

    @property
    def fitted(self) -> bool:
        """Whether there is a model to save: at least one epoch is complete."""
        return hasattr(self.estimator, "model_")

    def fit(self) -> None:
        """Train the estimator.

        Raises
        ------
        CommandError
            If the table or a hyper-parameter is invalid.
        """
        self.estimator.set_params(verbose=True)
        try:
            with (
                explained(f"{self.table} (X: {', '.join(self.columns['sequence'])}, y: {self.columns['target']})"),
                options_named(),
            ):
                self.estimator.fit(self.x, self.y)
        finally:
            self.estimator.set_params(verbose=False)

    def save(self, path: str) -> None:
        """Write a model file that names its columns.

        Raises
        ------
        CommandError
            If it cannot be written.
        """
        config = {**self.estimator._config(), "columns": self.columns}
        with explained(path):
            save(path, self.estimator._tensors(), config, kind=type(self.estimator).__name__)


def summary(estimator: GRUClassifier | GRURegressor) -> str:
    """Return a line that summarises the training."""
    history = estimator.history_
    rate = sum(history.sequences_per_second) / estimator.n_iter_
    text = f"{estimator.n_iter_} epochs at {rate:,.0f} sequences/s"
    if not history.validation_loss:
        return f"{text}; training loss {history.train_loss[-1]:.4g}"
    best = history.best_epoch
    score = "accuracy" if isinstance(estimator, GRUClassifier) else "R^2"
    return (
        f"{text}; best epoch {best + 1}: validation loss {history.validation_loss[best]:.4g}, "
        f"{score} {history.validation_score[best]:.4f}"
    )
