"""A table in memory, whatever its make, as an Arrow table that is sound."""

from __future__ import annotations

import warnings
from typing import Any

from cofactor.errors import BadParameter, BadRatings, first_sentence


def to_arrow(source: Any) -> Any:
    """A pandas, polars or Arrow table, a SciPy sparse matrix, or a dictionary of columns -> an Arrow table.

    Raises ``BadRatings`` where its columns are no Arrow columns; ``BadParameter`` where it is no table.
    """
    import pyarrow as pa

    try:
        table = _taken_over(source)
        if table is not None:
            table.validate(full=True)  # DuckDB trusts offsets, dictionary places and UTF-8
    except (pa.ArrowException, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise BadRatings(
            f"The table cannot be taken over: {first_sentence(str(error))}. Its columns must be equally long and "
            f"each of one kind: ids all integers or all strings, ratings numbers."
        ) from None
    if table is None:
        raise BadParameter(
            f"cofactor does not read {type(source).__name__}. Give a path, a pandas, polars or Arrow table, a SciPy "
            f"sparse matrix, or a dictionary of columns."
        )
    if table.num_columns == 0:
        raise BadRatings("The table has no columns. Give one with columns for user, item and rating.")
    for k, field in enumerate(table.schema):
        if pa.types.is_float16(field.type):  # which DuckDB does not know
            table = table.set_column(k, field.name, table.column(k).cast(pa.float32()))
    return table


def _taken_over(source: Any) -> Any:
    """None where it is no table at all."""
    import pyarrow as pa

    if isinstance(source, pa.Table):
        return source
    if hasattr(source, "tocoo"):  # SciPy sparse: stored zeros are ratings
        coo = source.tocoo()
        return pa.table({"user": pa.array(coo.row), "item": pa.array(coo.col), "rating": pa.array(coo.data)})
    if isinstance(source, pa.RecordBatchReader):
        return source.read_all()
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    if isinstance(source, dict):
        return pa.table({str(name): _column(values) for name, values in source.items()})
    if type(source).__module__.startswith("pandas") and hasattr(source, "columns"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, on its own conversions
            return pa.Table.from_pandas(source, preserve_index=False)
    return pa.table(source) if hasattr(source, "__arrow_c_stream__") else None


def _column(values: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, (str, bytes)):
        raise TypeError("a column is one text, not a list")
    return values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
