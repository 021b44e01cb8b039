"""What a column of the log is: its name, dtype, unit and meaning.

Everything that reads or writes a log takes names and order from here, so a column is described once.
"""

from __future__ import annotations

import dataclasses

SCHEMA_VERSION = 2
"""Version of the stored format; a reader refuses a file with another one."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table of the log.

    Args:
        name: The column's name.
        dtype: The pandas dtype it has in a table.
        unit: What one unit of it is; "1" for a pure number.
        meaning: One sentence for a person.
    """

    name: str
    dtype: str
    unit: str
    meaning: str


STEP_COLUMNS = (
    Column("step", "int64", "optimizer calls", "0-based count of optimizer calls through the whole run"),
    Column("epoch", "int64", "epochs", "0-based epoch"),
    Column("batch", "int64", "batches", "0-based batch within the epoch"),
    Column("applied", "bool", "1", "whether this step's update reached the weights"),
    Column("loss", "float64", "1", "loss of this batch before loss scaling; missing where it was not seen"),
    Column("nonfinite_loss", "bool", "1", "whether the loss was seen and is NaN or Inf"),
    Column("learning_rate", "float64", "1", "learning rate in force at this step"),
    Column("loss_scale", "float64", "1", "loss scale the gradient was divided by; missing without loss scaling"),
    Column("overflow", "bool", "1", "whether an optimizer that adapts its loss scale held the update back"),
    Column("replica", "int64", "1", "first replica of several whose gradient held NaN or Inf; -1 for none"),
    Column("nonfinite_inputs", "int64", "entries", "NaN or Inf entries in the batch; counted on bad steps only"),
)
"""Facts about one optimizer call; one value a step."""

STATISTICS = (
    Column("grad_norm", "float64", "loss per unit of weight", "L2 norm of the gradient"),
    Column("grad_max", "float64", "loss per unit of weight", "largest finite absolute entry of the gradient"),
    Column("nan_count", "Int64", "entries", "NaN entries in the gradient"),
    Column("inf_count", "Int64", "entries", "infinite entries in the gradient"),
    Column("zero_fraction", "float64", "1", "share of the entries that are exactly zero"),
    Column("weight_norm", "float64", "unit of weight", "L2 norm of the variable before the update"),
    Column("update_norm", "float64", "unit of weight", "L2 norm of the change that the update made"),
)
"""Numbers about one variable at one step."""

SIGNALS = (
    Column("dead_fraction", "float64", "1", "share of the units whose gradient has been exactly zero for long"),
    Column("unit_spread", "float64", "1", "largest difference of gradient between units, against the largest gradient"),
    Column("saturation", "float64", "1", "share of the layer's activations where sigmoid or tanh is flat"),
    Column("input_rms", "float64", "1", "root mean square of what the layer multiplies with the variable"),
)
"""Numbers for rules about what is around one variable at one step: `Log.wide` has them, `Log.frame` has not."""

STATISTIC_NAMES = tuple(column.name for column in STATISTICS)
SIGNAL_NAMES = tuple(column.name for column in SIGNALS)
VALUES = (*STATISTICS, *SIGNALS)
VALUE_NAMES = (*STATISTIC_NAMES, *SIGNAL_NAMES)
COUNTS = ("nan_count", "inf_count")
GRADIENT_STATISTICS = ("grad_norm", "grad_max", "nan_count", "inf_count", "zero_fraction")
DEFAULT_STATISTICS = VALUE_NAMES
STATISTIC_SETS = {"default": DEFAULT_STATISTICS, "full": VALUE_NAMES}

FRAME_COLUMNS = (
    "step",
    "epoch",
    "batch",
    "optimizer",
    "layer",
    "variable",
    *STATISTIC_NAMES,
    "detached",
    "applied",
)
STEPS_TABLE_COLUMNS = (
    "step",
    "epoch",
    "batch",
    "optimizer",
    "loss",
    "learning_rate",
    "loss_scale",
    "global_norm",
    "applied",
)
VARIABLES_TABLE_COLUMNS = ("variable", "layer", "optimizer", "shape", "size", "dtype", "detached", "cut")


def statistic_names(statistics: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """The statistic names that an option value stands for, in schema order.

    Args:
        statistics: "default", "full", or a sequence of statistic names.

    Returns:
        Names out of `VALUE_NAMES`, each once.

    Raises:
        ValueError: If a name is unknown or none is given.

    >>> statistic_names("default")[0]
    'grad_norm'
    >>> statistic_names(("nan_count", "grad_norm"))
    ('grad_norm', 'nan_count')
    """
    known = f"Expected 'default', 'full', or names out of {', '.join(VALUE_NAMES)}."
    if isinstance(statistics, str):
        if statistics not in STATISTIC_SETS:
            raise ValueError(f"Unknown statistics. Received: statistics={statistics!r}. {known}")
        return STATISTIC_SETS[statistics]
    if not isinstance(statistics, tuple | list) or not statistics:
        raise ValueError(f"`statistics` names no statistic. Received: statistics={statistics!r}. {known}")
    unknown = [name for name in statistics if name not in VALUE_NAMES]
    if unknown:
        raise ValueError(f"Unknown statistics {unknown}. Received: statistics={statistics!r}. {known}")
    return tuple(name for name in VALUE_NAMES if name in statistics)
