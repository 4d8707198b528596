"""Image features -> files for other programs: JSON Lines, NumPy's .npz, Parquet.

Written while pictures are encoded, so that memory does not grow with them by more than their paths.
What failed has a row in JSON Lines and Parquet, and none in .npz. Knows nothing about models but
what `Origin` says.

Shapes: N pictures that were encoded, D feature size.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from zsclip.embedding import Embedded
from zsclip.encoders import Model
from zsclip.errors import UsageError
from zsclip.image_cache import fingerprint
from zsclip.writers import Writer, beginning_of_row, dumps

FORMATS = ("jsonl", "npz", "parquet")
ROWS_IN_GROUP = 4096
"""Rows that Parquet is written in; so many features wait in memory."""
_DIGITS = 9
"""As many as bring a float32 back to the bit."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where features come from.

    Attributes:
        model: name and first six hex digits of the weights' digest, as in every result.
        digest: sha256 of the weights.
        fingerprint: of all that changes features; those of different ones cannot be compared.
        preprocess: what was done to pictures.
    """

    model: str
    digest: str
    fingerprint: str
    dimension: int
    preprocess: dict[str, Any]
    revision: str | None = None

    @classmethod
    def of(cls, model: Model) -> Origin:
        """The origin of what a model gives for pictures, decoded as it is told to."""
        local = model.local
        precision = model.choice.precision
        return cls(
            model=model.id,
            digest=local.digest,
            fingerprint=fingerprint(local, decoding=model.decoding, precision=precision),
            dimension=model.dimension,
            preprocess=asdict(local.config.preprocess),
            revision=local.revision,
        )


def check_format(name: str) -> None:
    """Refuse a format that cannot be written here.

    Raises:
        UsageError: it needs a package that is not installed.
    """
    if name == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError("Parquet needs pyarrow", tip="pip install 'zsclip[parquet]'")


def reversible(path: str) -> str:
    r"""A path as text that gives its bytes back: `\` is doubled, other than UTF-8 is `\xNN`."""
    return os.fsencode(path).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


class JsonLinesFeatures:
    """One JSON object a line, flushed at once."""

    def __init__(self, stream: BinaryIO, origin: Origin) -> None:
        self._stream = stream
        self._origin = origin

    def write(self, embedded: Embedded) -> None:
        """Write one line."""
        row = beginning_of_row(embedded)
        if embedded.features is not None:
            row["features"] = [float(f"{value:.{_DIGITS}g}") for value in embedded.features]
        row["model"] = self._origin.model
        if self._origin.revision is not None:
            row["revision"] = self._origin.revision
        row["fingerprint"] = self._origin.fingerprint
        if embedded.frames is not None:
            row["frames"] = embedded.frames
        if embedded.truncated:
            row["truncated"] = True
        self._stream.write(dumps(row).encode() + b"\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing ends JSON Lines."""


class NpzFeatures:
    """Arrays `paths (N,)`, `image_features (N, D)`, `model` and `fingerprint`; no pickle.

    Args:
        features: an empty file to keep them in: how many there are is known in the end only.
    """

    def __init__(self, stream: BinaryIO, origin: Origin, *, features: BinaryIO) -> None:
        self._stream = stream
        self._origin = origin
        self._features = features
        self._paths: list[str] = []

    def write(self, embedded: Embedded) -> None:
        """Write what was encoded."""
        if embedded.features is not None:
            self._features.write(embedded.features.astype("<f4").tobytes())
            self._paths.append("" if embedded.path is None else reversible(embedded.path))

    def close(self) -> None:
        """Write all of the file."""
        shape = (len(self._paths), self._origin.dimension)
        features: npt.NDArray[np.float32] = np.zeros(shape, "<f4")
        if self._paths:  # an empty file cannot be mapped
            self._features.flush()
            features = np.memmap(self._features, "<f4", mode="r", shape=shape)
        np.savez(
            self._stream,
            paths=np.array(self._paths, dtype=np.str_),
            image_features=features,
            model=np.array(self._origin.model),
            fingerprint=np.array(self._origin.fingerprint),
        )


class ParquetFeatures:
    """Columns `path`, `status`, `error_code`, `features`; metadata `zsclip.*` says whose they are.

    What failed has null for features, all else null for the code.

    Args:
        writer: of pyarrow's, with `parquet_schema`.
    """

    def __init__(self, writer: Any, *, dimension: int) -> None:
        self._writer = writer
        self._dimension = dimension
        self._waiting: list[Embedded] = []

    def write(self, embedded: Embedded) -> None:
        """Write one row, now or with those that follow."""
        self._waiting.append(embedded)
        if len(self._waiting) == ROWS_IN_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write the last rows, and what ends the file."""
        if self._waiting:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        import pyarrow as pa

        rows, self._waiting = self._waiting, []
        nothing = np.zeros(self._dimension, np.float32)
        features = np.stack([nothing if r.features is None else r.features for r in rows])
        columns = [
            pa.array([None if r.path is None else reversible(r.path) for r in rows], pa.string()),
            pa.array(["ok" if r.error is None else "error" for r in rows], pa.string()),
            pa.array([None if r.error is None else r.error.code for r in rows], pa.string()),
            pa.FixedSizeListArray.from_arrays(
                pa.array(features.ravel()),
                self._dimension,
                mask=pa.array([r.features is None for r in rows]),
            ),
        ]
        self._writer.write_table(pa.table(columns, schema=self._writer.schema))


def parquet_schema(origin: Origin) -> Any:
    """The columns of a Parquet file, and whose features they are."""
    import pyarrow as pa

    fields = [
        pa.field("path", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error_code", pa.string()),
        pa.field("features", pa.list_(pa.float32(), origin.dimension)),
    ]
    facts = {f"zsclip.{name}": value for name, value in asdict(origin).items() if value is not None}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    return pa.schema(fields, metadata=texts)


@contextlib.contextmanager
def open_writer(
    name: str, stream: BinaryIO, origin: Origin, *, folder: Path
) -> Iterator[Writer[Embedded]]:
    """The writer of a format, with what it needs as long as it writes.

    Args:
        folder: for a temporary file.
    """
    if name == "npz":
        with tempfile.TemporaryFile(dir=folder) as features:
            yield NpzFeatures(stream, origin, features=features)
    elif name == "parquet":
        import pyarrow.parquet as pq

        # features do not get smaller, neither compressed nor in a dictionary
        options = {"compression": "none", "use_dictionary": ["status", "error_code"]}
        with pq.ParquetWriter(stream, parquet_schema(origin), **options) as writer:
            yield ParquetFeatures(writer, dimension=origin.dimension)
    else:
        yield JsonLinesFeatures(stream, origin)
