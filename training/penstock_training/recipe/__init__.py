"""Say what can be asked of training, and read it from files."""

from penstock_training.recipe.load import load_recipe, parse_recipe
from penstock_training.recipe.override import make_setting
from penstock_training.recipe.schema import (
    Adagrad,
    Adam,
    DenseOptimizer,
    Evaluation,
    Ftrl,
    InBatchSoftmax,
    Logistic,
    MatrixFactorisation,
    Optimizers,
    Recipe,
    RowWiseAdagrad,
    Sgd,
    SquaredError,
    TableOptimizer,
    Task,
    Training,
    TwoTower,
)
from penstock_training.recipe.text import dump_recipe

__all__ = [
    "Adagrad",
    "Adam",
    "DenseOptimizer",
    "Evaluation",
    "Ftrl",
    "InBatchSoftmax",
    "Logistic",
    "MatrixFactorisation",
    "Optimizers",
    "Recipe",
    "RowWiseAdagrad",
    "Sgd",
    "SquaredError",
    "TableOptimizer",
    "Task",
    "Training",
    "TwoTower",
    "dump_recipe",
    "load_recipe",
    "make_setting",
    "parse_recipe",
]
