"""Record what was done to a column's values before they were stored, so that serving can do the same."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock_shared.strict import Strict

TimeUnit = Literal["s", "ms", "us"]
# The largest value of each part, all of which count from 0 or 1.
LARGEST_PART = {"minute": 59, "hour": 23, "weekday": 6, "day": 31, "month": 12, "year": 9999}
PartName = Literal["minute", "hour", "weekday", "day", "month", "year"]


class Normalised(Strict):
    """Say that a number x became (x - center) / scale, or log(1 + x) where the method is log1p, in float64."""

    kind: Literal["normalise"]
    method: Literal["standard", "min_max", "log1p"]
    center: float = 0.0
    scale: Annotated[float, Field(gt=0)] = 1.0


class Bucketised(Strict):
    """Say that a number became how many of the ascending `boundaries` are not above it."""

    kind: Literal["bucketise"]
    boundaries: tuple[float, ...]

    @model_validator(mode="after")
    def _ascends(self) -> "Bucketised":
        if any(low >= high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError("boundaries that ascend, none twice")
        return self


class Split(Strict):
    """Say that text became the list of what lies between `separator`, blanks around it and empty pieces dropped."""

    kind: Literal["split"]
    separator: Annotated[str, Field(min_length=1)] = "|"


class NGrams(Strict):
    """Say that text became all runs of `n` neighbouring words or characters; a text shorter than that is one run.

    Words are what lies between characters that are neither letters nor digits, and are joined by one blank. For
    characters, too, each run of other characters counts as one blank.
    """

    kind: Literal["ngrams"]
    of: Literal["words", "characters"] = "words"
    n: Annotated[int, Field(ge=1, le=16)] = 1
    lowercase: bool = True


class TimePart(Strict):
    """Say that a time since 1970-01-01, in `unit`, became a part of its date or time of day in UTC.

    A weekday counts from Monday, 0; days and months count from 1.
    """

    kind: Literal["time_part"]
    part: PartName
    unit: TimeUnit


Transform = Annotated[Normalised | Bucketised | Split | NGrams | TimePart, Field(discriminator="kind")]


def ids_made(transform: Transform | None) -> int | None:
    """Return how many ids, counted from 0, a transform to small integers makes; None for one that makes no ids."""
    if isinstance(transform, Bucketised):
        return len(transform.boundaries) + 1
    if isinstance(transform, TimePart):
        return LARGEST_PART[transform.part] + 1
    return None
