"""A bad step on disk: arrays with their roles and names, and beside them JSON that says what they are.

The file is Parquet inside, an array a row, but its name does not say so: readers of a run directory that take all
Parquet files (DuckDB) must not take it for records.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gradwatch.store import header
from gradwatch.store.folders import Folder
from gradwatch.store.part import METADATA_KEY, translated

_SCHEMA = pa.schema(
    [
        ("role", pa.string()),
        ("name", pa.string()),
        ("dtype", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("data", pa.large_binary()),
        ("strings", pa.list_(pa.large_binary())),
    ]
)


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """One array.

    Args:
        role: What it is: "argument", "variable", "rows", "indices" or "optimizer".
        name: Its name, such as the path of a variable.
        values: Its entries; of strings, bytes objects.
    """

    role: str
    name: str
    values: npt.NDArray


def write(folder: Folder, name: str, about: dict[str, Any], arrays: Sequence[StoredArray]) -> None:
    """Writes a bad step, whole or not at all.

    Args:
        folder: Where to write it.
        name: Name of the file.
        about: What JSON can hold of it.
        arrays: The rest.

    Raises:
        OSError: If it cannot be written.
    """
    metadata = {METADATA_KEY: header.seal({"num_arrays": len(arrays), **about}).encode()}
    schema = _SCHEMA.with_metadata(metadata)
    with (
        folder.replacing(name) as file,
        pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False, write_page_checksum=True) as writer,
    ):
        for array in arrays:  # one at a time: together they may be as large as the model
            writer.write_table(pa.Table.from_pylist([_row(array)], schema))


def read(folder: Folder, name: str) -> tuple[dict[str, Any], list[StoredArray]]:
    """What `write` was given.

    Raises:
        FileNotFoundError: If it is not there.
        LogFormatError: If it is no bad step of gradwatch, is damaged, or was written by a newer version.
    """
    path = f"{folder.path}/{name}"
    with (
        translated(path),
        folder.opened(name) as opened,
        pq.ParquetFile(opened, page_checksum_verification=True) as file,
    ):
        text = (file.metadata.metadata or {}).get(METADATA_KEY)
        if text is None:
            raise ValueError("a Parquet file that gradwatch did not write")
        about = header.unseal(text, path)
        arrays = [
            _array(row) for number in range(file.num_row_groups) for row in file.read_row_group(number).to_pylist()
        ]
        if about.pop("num_arrays") != len(arrays):
            raise ValueError("arrays are missing")
    return about, arrays


def _row(array: StoredArray) -> dict[str, Any]:
    values = np.asarray(array.values)
    is_text = values.dtype == object
    return {
        "role": array.role,
        "name": array.name,
        "dtype": "bytes" if is_text else values.dtype.name,
        "shape": list(values.shape),
        "data": None if is_text else values.tobytes(),
        "strings": values.ravel().tolist() if is_text else None,
    }


def _array(row: dict[str, Any]) -> StoredArray:
    if row["dtype"] == "bytes":
        values = np.array(row["strings"], object)
    else:
        values = np.frombuffer(row["data"], _dtype(row["dtype"]))
    return StoredArray(row["role"], row["name"], values.reshape(row["shape"]))


def _dtype(name: str) -> npt.DTypeLike:
    try:
        return np.dtype(name)
    except TypeError:
        return np.dtype(getattr(importlib.import_module("ml_dtypes"), name))  # bfloat16 and its like
