"""Define the sweep file: the recipe to start from, which of its values to try, and what to judge trials by."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from penstock_shared.strict import Strict

Values = Annotated[tuple[Any, ...], Field(min_length=1)]


class Choice(Strict):
    """Draw one of `values`, each as likely."""

    kind: Literal["choice"]
    values: Values


class Uniform(Strict):
    """Draw a number between `low` and `high`."""

    kind: Literal["uniform"]
    low: float
    high: float

    @model_validator(mode="after")
    def _ascends(self) -> "Uniform":
        if self.low >= self.high:
            raise ValueError("low below high")
        return self


class LogUniform(Strict):
    """Draw a number between `low` and `high`, each factor between them as likely: for learning rates and the like."""

    kind: Literal["log_uniform"]
    low: Annotated[float, Field(gt=0)]
    high: float

    @model_validator(mode="after")
    def _ascends(self) -> "LogUniform":
        if self.low >= self.high:
            raise ValueError("low below high")
        return self


class Integer(Strict):
    """Draw one of `low`, `low` + `step`, ... up to `high`, each as likely."""

    kind: Literal["integer"]
    low: int
    high: int
    step: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _ascends(self) -> "Integer":
        if self.low >= self.high:
            raise ValueError("low below high")
        return self


Distribution = Annotated[Choice | Uniform | LogUniform | Integer, Field(discriminator="kind")]


class Random(Strict):
    """Try `trials` draws of all keys; a draw is a pure function of (seed, trial, key), so that more can follow."""

    trials: Annotated[int, Field(ge=1)]
    seed: int = 1
    draw: Annotated[dict[str, Distribution], Field(min_length=1)]


class Judge(Strict):
    """Say which metric on which split decides; of the test split a sweep would choose by what it is tested on."""

    metric: str
    split: str = "validation"


class Sweep(Strict):
    """Describe a search: `grid` tries every combination of the values of its keys, `random` draws."""

    recipe: str
    judge: Judge
    grid: Annotated[dict[str, Values], Field(min_length=1)] | None = None
    random: Random | None = None

    @model_validator(mode="after")
    def _searches_one_way(self) -> "Sweep":
        if (self.grid is None) == (self.random is None):
            raise ValueError("either grid or random")
        return self
