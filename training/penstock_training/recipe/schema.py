"""Define the recipe: what to train, how, and how to judge it. Sizes come from the dataset, never from here."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock_shared.strict import Strict

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
# What Keras and numpy take as a seed.
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]
Task = Literal["retrieval", "rating", "implicit"]


class MatrixFactorisation(Strict):
    """Score = user vector . item vector + user bias + item bias + global bias."""

    kind: Literal["matrix_factorisation"]
    dimension: Positive = 32
    initial_stddev: Rate = 0.05
    l2: NonNegative = 0.0
    bias_l2: NonNegative = 0.0


class TwoTower(Strict):
    """Score = user tower . item tower / temperature + item bias, which starts at the log of the item's probability.

    `user_features` and `item_features` name features of the dataset's entity tables: ids get embeddings of
    `feature_dimension`, numbers are taken as they are, so normalise them when preparing. They go into the `hidden`
    layers beside the embedding of the user or item; where there are none, a linear map of them is added to it.
    """

    kind: Literal["two_tower"]
    dimension: Positive = 32
    hidden: tuple[Positive, ...] = ()
    initial_stddev: Rate = 0.05
    temperature: Rate = 1.0
    user_features: tuple[str, ...] = ()
    item_features: tuple[str, ...] = ()
    feature_dimension: Positive = 16
    l2: NonNegative = 0.0


class InBatchSoftmax(Strict):
    """Pick each row's item out of the batch's items; `log_q` corrects for popular items being there more often."""

    kind: Literal["in_batch_softmax"]
    log_q: bool = True
    mask_accidental_hits: bool = True


class SquaredError(Strict):
    """Predict the label; the training loss is half the mean squared error."""

    kind: Literal["squared_error"]


class Logistic(Strict):
    """Tell each row's item from `negatives` items drawn evenly from the vocabulary."""

    kind: Literal["logistic"]
    negatives: Positive = 4


class Adagrad(Strict):
    """Divide by the root of all squared gradients so far (Duchi et al., 2011)."""

    kind: Literal["adagrad"]
    learning_rate: Rate = 0.05
    initial_accumulator: Rate = 1e-6
    epsilon: Rate = 1e-10


class RowWiseAdagrad(Strict):
    """Keep one accumulator per row, of mean squared gradients: a fraction of Adagrad's memory. No TPU has it."""

    kind: Literal["row_wise_adagrad"]
    learning_rate: Rate = 0.05
    initial_accumulator: Rate = 1e-6
    epsilon: Rate = 1e-10


class Adam(Strict):
    """Use first and second moments; on tables lazily, that is only in the rows of the batch (Kingma and Ba, 2015)."""

    kind: Literal["adam"]
    learning_rate: Rate = 0.001
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: Rate = 1e-7


class Ftrl(Strict):
    """Follow the regularised leader (McMahan et al., 2013); `l1` makes numbers exactly zero.

    A row's first update scales its noise by 1 - (initial_accumulator / accumulator)^-learning_rate_power.
    """

    kind: Literal["ftrl"]
    learning_rate: Rate = 0.05
    learning_rate_power: Annotated[float, Field(le=0)] = -0.5
    initial_accumulator: Rate = 1e-10
    l1: NonNegative = 0.0
    l2: NonNegative = 0.0
    beta: NonNegative = 0.0


class Sgd(Strict):
    """Step along the gradient."""

    kind: Literal["sgd"]
    learning_rate: Rate = 0.1


DenseOptimizer = Annotated[Adagrad | Adam | Sgd, Field(discriminator="kind")]
TableOptimizer = Annotated[Adagrad | RowWiseAdagrad | Adam | Ftrl | Sgd, Field(discriminator="kind")]


class Optimizers(Strict):
    """Name an optimiser for the embedding tables, of which a step touches few rows, and one for everything else."""

    embeddings: TableOptimizer = Adagrad(kind="adagrad")
    dense: DenseOptimizer = Adam(kind="adam")


class Training(Strict):
    """Say how long and on what to train.

    Order is a function of the dataset, `seed`, `window_blocks`, `batch_rows` and `lanes`, never of the number of hosts:
    an epoch is cut into `lanes` ranges, whose rows are permuted in windows of `window_blocks` blocks, and a batch takes
    equally many rows of each. With as many lanes as hosts, or a multiple, each host reads only its own part of the
    dataset; with fewer lanes, hosts of the same lane each read all of it.

    `unknown_user_rate` and `unknown_item_rate` of the rows get an out-of-vocabulary id instead of their own, so that
    the model learns what to do with users and items it will not know.
    """

    split: str = "train"
    epochs: Positive
    batch_rows: Positive = 4096
    seed: Seed = 1
    window_blocks: Positive = 32
    lanes: Positive = 1
    checkpoint_every_steps: Positive = 1000
    keep_checkpoints: Positive = 2
    unknown_user_rate: Share = 0.0
    unknown_item_rate: Share = 0.0

    @model_validator(mode="after")
    def _divides(self) -> "Training":
        if self.batch_rows % self.lanes:
            raise ValueError(f"batch_rows that lanes ({self.lanes}) divides, not {self.batch_rows}")
        return self


class Evaluation(Strict):
    """Say on which split, with which cut-offs and how often to evaluate; 0 epochs means only at the end."""

    split: str = "test"
    k: Annotated[tuple[Positive, ...], Field(min_length=1)] = (10, 100)
    filter_seen: bool = True
    every_epochs: Annotated[int, Field(ge=0)] = 1
    batch_rows: Positive = 8192


class Recipe(Strict):
    """Describe a training run, the dataset aside."""

    task: Task
    model: Annotated[MatrixFactorisation | TwoTower, Field(discriminator="kind")]
    loss: Annotated[InBatchSoftmax | SquaredError | Logistic, Field(discriminator="kind")]
    optimizer: Optimizers = Optimizers()
    training: Training
    evaluation: Evaluation = Evaluation()

    def judged_on(self, split: str) -> "Recipe":
        """Return the recipe with another split to evaluate on."""
        return self.model_copy(update={"evaluation": self.evaluation.model_copy(update={"split": split})})

    @model_validator(mode="after")
    def _holds_together(self) -> "Recipe":
        fitting = {
            "retrieval": ("in_batch_softmax", "logistic"),
            "rating": ("squared_error",),
            "implicit": ("logistic",),
        }
        if self.loss.kind not in fitting[self.task]:
            raise ValueError(f"a loss for task {self.task}: {' or '.join(fitting[self.task])}, not {self.loss.kind}")
        return self
