"""Features as files that other programs read: to the bit, whatever paths are called."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from zsclip import feature_files
from zsclip.embedding import Embedded
from zsclip.errors import UsageError
from zsclip.feature_files import Origin, check_format, open_writer, reversible
from zsclip.inputs import Input
from zsclip.results import Failure

D = 8
ORIGIN = Origin(
    model="tiny@3f2a9c",
    digest="ab" * 32,
    fingerprint="cd" * 32,
    dimension=D,
    preprocess={"size": 64, "mean": [0.5, 0.5, 0.5]},
)
HOSTILE = ["plain.jpg", os.fsdecode(b"caf\xe9.jpg"), "a\\xe9.jpg", "ü\n\x1b[0m.jpg", "\\", "=1+1"]


def unit(seed):
    vector = np.random.default_rng(seed).standard_normal(D).astype(np.float32)
    return vector / np.linalg.norm(vector)


def encoded(number, path=None, **facts):
    path = f"{number}.jpg" if path is None else path
    return Embedded(Input(path, path), unit(number), **facts)


def failed(path="bad.jpg"):
    return Embedded(Input(path, path), error=Failure("truncated", "the picture ends early"))


def written(name, answers, tmp_path, origin=ORIGIN):
    """The bytes of a file with these answers."""
    stream = io.BytesIO()
    with open_writer(name, stream, origin, folder=tmp_path) as writer:
        for answer in answers:
            writer.write(answer)
        writer.close()
    return stream.getvalue()


def npz(answers, tmp_path):
    return np.load(io.BytesIO(written("npz", answers, tmp_path)), allow_pickle=False)


def parquet(answers, tmp_path, origin=ORIGIN):
    return pq.ParquetFile(io.BytesIO(written("parquet", answers, tmp_path, origin)))


def rows(answers, tmp_path, origin=ORIGIN):
    return [json.loads(line) for line in written("jsonl", answers, tmp_path, origin).splitlines()]


def in_rows(answers, tmp_path):
    found = [row["features"] for row in rows(answers, tmp_path) if row["status"] == "ok"]
    return np.array(found, np.float32)


def in_npz(answers, tmp_path):
    return npz(answers, tmp_path)["image_features"]


def in_parquet(answers, tmp_path):
    column = parquet(answers, tmp_path).read().column("features").combine_chunks()
    return column.flatten().to_numpy().reshape(-1, D)  # what is null has no values there


@pytest.mark.parametrize("read", [in_rows, in_npz, in_parquet])
def test_features_come_back_to_the_bit(read, tmp_path):
    answers = [encoded(1), encoded(2), failed(), encoded(3)]

    found = read(answers, tmp_path)

    assert found.dtype == np.float32
    assert np.array_equal(found, np.stack([unit(n) for n in (1, 2, 3)]))


# JSON Lines


def test_a_row_of_json_has_these_keys_in_this_order(tmp_path):
    ok, bad = rows([encoded(1), failed()], tmp_path)

    assert list(ok) == ["path", "status", "features", "model", "fingerprint"]
    assert bad == {
        "path": "bad.jpg",
        "status": "error",
        "error": {"code": "truncated", "message": "the picture ends early"},
        "model": "tiny@3f2a9c",
        "fingerprint": "cd" * 32,
    }


def test_a_row_of_json_says_what_else_is_known(tmp_path):
    origin = Origin("m@1", "ab", "cd", D, {}, revision="main")
    (row,) = rows([encoded(1, frames=3, truncated=True)], tmp_path, origin)

    assert (row["revision"], row["frames"], row["truncated"]) == ("main", 3, True)


def test_numbers_of_json_have_nine_digits_at_most(tmp_path):
    content = written("jsonl", [encoded(n) for n in range(50)], tmp_path).decode()

    numbers = re.findall(r"[-\[,](\d[\d.e-]*)", content.replace('"', ""))
    digits = [len(n.split("e")[0].replace(".", "").lstrip("0")) for n in numbers if "." in n]

    assert len(digits) > 300 and max(digits) == 9


def test_json_has_the_bytes_of_every_path(tmp_path):
    import base64

    found = [
        base64.b64decode(row["path_b64"]) if "path_b64" in row else row["path"].encode()
        for row in rows([encoded(1, path) for path in HOSTILE], tmp_path)
    ]

    assert found == [os.fsencode(path) for path in HOSTILE]


def test_rows_of_json_are_out_at_once(tmp_path):
    stream = io.BytesIO()
    with open_writer("jsonl", stream, ORIGIN, folder=tmp_path) as writer:
        writer.write(encoded(1))

        assert stream.getvalue().endswith(b"}\n")


# paths in columns


def original(text: str) -> bytes:
    """What docs/embed.md says of paths, backwards."""
    pattern = re.compile(rb"\\(\\|x([0-9a-f]{2}))")
    return pattern.sub(lambda m: bytes.fromhex(m[2].decode()) if m[2] else b"\\", text.encode())


@pytest.mark.parametrize("path", HOSTILE, ids=ascii)
def test_a_path_gives_its_bytes_back(path):
    assert original(reversible(path)) == os.fsencode(path)


def test_an_ordinary_path_stays_as_it_is():
    assert reversible("photos/ü 1.jpg") == "photos/ü 1.jpg"


# npz


def test_npz_has_what_was_encoded_and_whose_it_is(tmp_path):
    answers = [encoded(1), failed(), *(encoded(2, path) for path in HOSTILE)]

    found = npz(answers, tmp_path)

    assert sorted(found) == ["fingerprint", "image_features", "model", "paths"]
    assert found["paths"].dtype.kind == "U"
    assert [original(str(path)) for path in found["paths"]] == [
        b"1.jpg", *map(os.fsencode, HOSTILE)
    ]  # fmt: skip
    assert (str(found["model"]), str(found["fingerprint"])) == ("tiny@3f2a9c", "cd" * 32)


def test_npz_of_nothing_is_empty_arrays(tmp_path):
    found = npz([failed()], tmp_path)

    assert found["paths"].shape == (0,) and found["image_features"].shape == (0, D)


def test_npz_of_a_picture_without_a_path_has_an_empty_one(tmp_path):
    found = npz([Embedded(Input(None, b""), unit(1))], tmp_path)

    assert found["paths"].tolist() == [""]


@pytest.mark.parametrize("name", ["npz", "parquet", "jsonl"])
def test_equal_features_are_equal_bytes(tmp_path, name):
    answers = [encoded(n) for n in range(9)]

    assert written(name, answers, tmp_path) == written(name, answers, tmp_path)
    assert os.listdir(tmp_path) == []


# Parquet


def test_parquet_has_a_row_for_each_input(tmp_path):
    table = parquet([encoded(1), failed(), *(encoded(2, p) for p in HOSTILE)], tmp_path).read()

    assert table.column_names == ["path", "status", "error_code", "features"]
    assert str(table.schema.field("features").type).startswith("fixed_size_list<element: float")
    assert table.column("status").to_pylist() == ["ok", "error"] + ["ok"] * len(HOSTILE)
    assert table.column("error_code").to_pylist()[:2] == [None, "truncated"]
    assert table.column("features").to_pylist()[1] is None
    found = [original(path) for path in table.column("path").to_pylist()]
    assert found == [b"1.jpg", b"bad.jpg", *map(os.fsencode, HOSTILE)]


def test_parquet_says_whose_features_these_are(tmp_path):
    found = parquet([encoded(1)], tmp_path).schema_arrow.metadata

    assert {key: value for key, value in found.items() if key.startswith(b"zsclip.")} == {
        b"zsclip.model": b"tiny@3f2a9c",
        b"zsclip.digest": b"ab" * 32,
        b"zsclip.fingerprint": b"cd" * 32,
        b"zsclip.dimension": b"8",
        b"zsclip.preprocess": b'{"size": 64, "mean": [0.5, 0.5, 0.5]}',
    }


def test_parquet_is_written_in_groups_while_rows_come(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "ROWS_IN_GROUP", 4)
    stream = io.BytesIO()

    with open_writer("parquet", stream, ORIGIN, folder=tmp_path) as writer:
        sizes = [writer.write(encoded(n)) or stream.tell() for n in range(10)]
        writer.close()

    groups = pq.ParquetFile(stream).metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [4, 4, 2]
    assert sizes[2] < sizes[3] == sizes[6] < sizes[7]


def test_parquet_of_nothing_has_the_columns(tmp_path):
    assert parquet([], tmp_path).read().num_rows == 0


def test_a_run_that_is_left_in_the_middle_says_nothing(tmp_path):
    script = (
        "import sys; from test_feature_files import *\n"
        "with open(sys.argv[1], 'wb') as stream, "
        "open_writer('parquet', stream, ORIGIN, folder=Path()) as writer:\n"
        "    writer.write(encoded(1)); sys.exit(3)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "f.parquet")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parent,
    )

    assert (ran.returncode, ran.stderr) == (3, "")


def test_parquet_without_pyarrow_names_the_extra(monkeypatch):
    monkeypatch.setattr(feature_files.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(UsageError, match="pyarrow") as caught:
        check_format("parquet")
    check_format("npz")

    assert caught.value.tip == "pip install 'zsclip[parquet]'"


# origin


def test_the_fingerprint_is_of_the_way_to_decode_too(fake_model):
    before = Origin.of(fake_model)
    fake_model.decoding = fake_model.decoding.but(exact=True)

    after = Origin.of(fake_model)

    assert before.fingerprint != after.fingerprint
    assert (before.model, before.digest, before.dimension) == ("ViT-B/32@ffffff", "f" * 64, 64)
