"""Cut text at a separator."""

from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.transforms.base import Rule
from penstock_dataprep.transforms.texts import list_tokens, without_empty
from penstock_shared.transforms import Split


class SplitRule(Split, Rule):
    """Ask for the tokens between separators."""

    takes: ClassVar[tuple[str, ...]] = ("string",)
    makes: ClassVar[str] = "string"
    makes_lists: ClassVar[bool] = True

    def settle(self, measure: Any) -> Split:
        """Return the separator."""
        return Split(kind="split", separator=self.separator)


def split(settings: Split, texts: pa.Array) -> pa.ListArray:
    """Return the list of each text's tokens."""
    return list_tokens(texts, lambda distinct: without_empty(pc.split_pattern(distinct, settings.separator)))
