"""Find the matrix products of a graph, and how much of each is padding up to the tiles of a chip."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from penstock_training.tpu_check.graphs import graphs
from penstock_training.tpu_check.lines import Line, Lines
from penstock_training.tpu_check.plan import padding_share

PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
# Rows of a tile: what a vector register holds of 32-bit numbers (cloud.google.com/tpu/docs/performance-guide).
SUBLANES = 8


@dataclass(frozen=True)
class Product:
    """Hold a product of [rows, depth] by [depth, columns] and the share of its multiplications that is padding."""

    rows: int
    depth: int
    columns: int
    padding: float
    line: Line | None


def products(graph: Any, matrix_width: int) -> list[Product]:
    """Return the products of known shape, those of most padding first; equal ones of one line count once."""
    found = set()
    for part in graphs(graph):
        operations = part.get_operations()
        lines = Lines(operations)
        for op in operations:
            if op.type in PRODUCTS and (sizes := _sizes(op)) is not None:
                padding = padding_share(sizes, (SUBLANES, matrix_width, matrix_width))
                found.add(Product(*sizes, padding, lines.of(op)))
    return sorted(found, key=lambda product: (-product.padding, product.rows, product.depth, product.columns))


def _sizes(op: tf.Operation) -> tuple[int, int, int] | None:
    shape, other = op.inputs[0].shape, op.outputs[0].shape
    if not (shape.is_fully_defined() and other.is_fully_defined()):
        return None
    transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    return int(other[-2]), int(shape[-2] if transposed else shape[-1]), int(other[-1])
