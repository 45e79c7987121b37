"""Transform columns: one file per kind, each a pure function from an Arrow array to an Arrow array."""

from collections.abc import Callable
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field

from penstock_dataprep.transforms.base import Measure, Rule
from penstock_dataprep.transforms.bucketise import Bucketise, bucketise
from penstock_dataprep.transforms.ngrams import NGramsRule, ngrams
from penstock_dataprep.transforms.normalise import Normalise, normalise
from penstock_dataprep.transforms.split import SplitRule, split
from penstock_dataprep.transforms.time_part import TimePartRule, time_part
from penstock_shared.transforms import Transform

TRANSFORMS: dict[str, Callable[[Any, pa.Array], pa.Array]] = {
    "normalise": normalise,
    "bucketise": bucketise,
    "split": split,
    "ngrams": ngrams,
    "time_part": time_part,
}
TransformRule = Annotated[Normalise | Bucketise | SplitRule | NGramsRule | TimePartRule, Field(discriminator="kind")]

__all__ = ["TRANSFORMS", "Measure", "Rule", "Transform", "TransformRule"]
