"""Update embedding tables and dense variables, each by an optimiser that a recipe names."""

from collections.abc import Callable

from penstock_training.optimizers.adagrad import RowAdagrad
from penstock_training.optimizers.dense import DENSE_OPTIMIZERS
from penstock_training.optimizers.ftrl import RowFtrl
from penstock_training.optimizers.lazy_adam import LazyAdam
from penstock_training.optimizers.row_wise_adagrad import RowWiseAdagradOptimizer
from penstock_training.optimizers.rows import RowOptimizer, table_key
from penstock_training.optimizers.sgd import RowSgd

__all__ = ["DENSE_OPTIMIZERS", "ROW_OPTIMIZERS", "RowOptimizer", "table_key"]

ROW_OPTIMIZERS: dict[str, Callable[..., RowOptimizer]] = {
    "adagrad": RowAdagrad,
    "adam": LazyAdam,
    "ftrl": RowFtrl,
    "row_wise_adagrad": RowWiseAdagradOptimizer,
    "sgd": RowSgd,
}
