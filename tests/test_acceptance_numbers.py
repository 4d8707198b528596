"""Numbers: finite, the same for any batch, thread and repetition, and those of open_clip."""

from __future__ import annotations

import os
import resource
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Ran, with_compiled

from zsclip import cpus, read_ahead
from zsclip.encoders import Model
from zsclip.engines import compiled
from zsclip.engines.base import Floats
from zsclip.engines.fake import FakeEngine
from zsclip.engines.image_encoder import ImageEncoder
from zsclip.engines.onnx_engine import OnnxEngine
from zsclip.engines.torch_engine import TorchEngine
from zsclip.heads import load_head
from zsclip.prompts import load_templates

Run = Callable[..., Ran]
Make = Callable[..., Path]

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
LABELS = ("--labels", "cat,dog,pizza,tree,red heart,car", "--template", "{}")
ENGINES = ("torch", "onnx")
SCORE_TOLERANCE = 1e-4


@pytest.fixture
def fake(zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`zsclip classify` with an engine of the test's choice: `fake(engine, *arguments)`."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)

    def run(engine: FakeEngine, *arguments: object) -> Ran:
        fake_model.engine = engine
        fake_model.image_encoder = ImageEncoder(engine)
        return zsclip("classify", *arguments, *LABELS)

    return run


@pytest.fixture
def pictures(picture: Make) -> list[Path]:
    """Nine pictures of nine colours; the fifth is white."""
    return [
        picture(f"{n}.png", "white" if n == 4 else (n * 25, 200 - n * 20, n * 7)) for n in range(9)
    ]


@pytest.fixture(scope="module")
def tiny_cache(compiled_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the embedded model is compiled."""
    return with_compiled(compiled_tiny, tmp_path_factory.mktemp("numbers"))


@pytest.fixture
def tiny(zsclip: Run, tiny_cache: Path, one_thread: None) -> Run:
    """`zsclip classify` with the embedded model: `tiny("onnx", *arguments)`."""

    def run(engine: str, *arguments: object) -> Ran:
        options = ("--model", "tiny", "--engine", engine, "--device", "cpu")
        return zsclip("classify", *options, "--cache-dir", tiny_cache, *LABELS, *arguments)

    return run


def is_white(pixels: Floats) -> np.ndarray:
    return pixels.mean(axis=(1, 2, 3)) > 1


def assert_close(ones: list[dict], others: list[dict]) -> None:
    """The same best label, and every score within the tolerance."""
    for one, other in zip(ones, others, strict=True):
        assert (one["path"], one["label"]) == (other["path"], other["label"])
        scores, other_scores = (
            {s["label"]: s["score"] for s in row["scores"]} for row in (one, other)
        )
        apart = max(abs(scores[label] - other_scores[label]) for label in scores)
        assert apart < SCORE_TOLERANCE, (one["path"], apart)


# not finite


@pytest.mark.accepts("F1")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_tried_again_in_fp32(fake, pictures, value):
    class Overflows(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            tried.append((len(pixels), full_precision))
            features = super().encode_images(pixels)
            features[is_white(pixels) & (not full_precision), 0] = value
            return features

    tried: list[tuple[int, bool]] = []
    expected = fake(FakeEngine(), *pictures)

    ran = fake(Overflows(), *pictures, "--batch-size", 9)

    assert ran.code == 0 and ran.rows == expected.rows
    assert tried == [(9, False), (1, True)]


@pytest.mark.accepts("F1")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_stay_not_finite_are_a_row_and_the_others_are_kept(fake, pictures, value):
    class Broken(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            features = super().encode_images(pixels)
            features[is_white(pixels), 0] = value
            return features

    expected = fake(FakeEngine(), *pictures)

    ran = fake(Broken(), *pictures)

    assert ran.code == 3 and ran.rows[4]["error"]["code"] == "non_finite"
    assert [row for row in ran.rows if row["status"] == "ok"] == [
        row for n, row in enumerate(expected.rows) if n != 4
    ]
    assert "NaN" not in ran.stdout and "Infinity" not in ran.stdout


@pytest.mark.accepts("F2")
@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_a_scale_that_overflows_exp_gives_probabilities_all_the_same(fake, pictures, scale):
    ran = fake(FakeEngine(logit_scale=scale), *pictures)

    totals = [sum(s["score"] for s in row["scores"]) for row in ran.rows]
    assert ran.code == 0 and max(abs(total - 1) for total in totals) < 1e-5, totals


@pytest.mark.accepts("F2")
def test_half_precision_on_the_cpu_is_asked_for_or_not_there(zsclip, picture):
    command = ("classify", picture("red.png"), "--model", "tiny", "--device", "cpu", *LABELS)

    ran = zsclip(*command, "--precision", "fp16")

    assert ran.code == 2 and "fp16 is not for device 'cpu'" in ran.stderr


# batches and threads


@pytest.mark.accepts("F3")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_size_of_a_batch_and_the_threads_do_not_change_scores(tiny, engine, monkeypatch, tried):
    import torch

    pictures = [IMAGES] * (3 if engine == "onnx" else 1)  # 72, or 24 where it takes longer

    def rows(batch_size: int, threads: int) -> list[dict]:
        monkeypatch.setattr(cpus, "usable", lambda: threads)
        torch.set_num_threads(threads)
        ran = tiny(engine, *pictures, "--batch-size", batch_size)
        assert ran.code == 0 and len(ran.rows) > 20 * len(pictures)
        return ran.rows

    cases = [(7, 2), (64, 1)]
    tried(len(cases))
    first = rows(1, 1)

    for batch_size, threads in cases:
        assert_close(first, rows(batch_size, threads))


@pytest.mark.accepts("F4")
@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_command_twice_gives_the_same_bytes(tiny, engine, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")

    once, again = (tiny(engine, IMAGES, tmp_path / "broken.jpg") for _ in range(2))

    assert once.code == 3 and len(once.rows) > 20
    assert once.stdout == again.stdout and once.stderr == again.stderr


@pytest.mark.accepts("F5")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_broken_picture_in_a_batch_leaves_the_others_as_they_were(tiny, engine, tmp_path):
    names = sorted(IMAGES.glob("*.png"))[:7]
    broken = tmp_path / "broken.png"
    broken.write_bytes(names[0].read_bytes()[:60])
    alone = tiny(engine, *names, "--batch-size", 8)

    mixed = tiny(engine, *names[:3], broken, *names[3:], "--batch-size", 8)

    assert mixed.code == 3 and [r["status"] for r in mixed.rows].index("error") == 3
    assert_close(alone.rows, [row for row in mixed.rows if row["status"] == "ok"])


# memory


@pytest.mark.accepts("F6")
@pytest.mark.parametrize("fits", [1, 2, 3, 8])
def test_a_batch_that_does_not_fit_is_halved_with_one_warning(fake, pictures, fits):
    expected = fake(FakeEngine(), *pictures)

    ran = fake(FakeEngine(fits=fits), *pictures, "--batch-size", 9)

    kept = next(size for size in (9, 4, 2, 1) if size <= fits)
    assert ran.code == 0 and ran.rows == expected.rows
    assert ran.stderr.count("warning: ") == 1
    assert f"not enough memory for 9 pictures at once: going on with {kept}" in ran.stderr


@pytest.mark.accepts("F6")
def test_a_picture_that_does_not_fit_alone_is_a_row(fake, pictures):
    class Shy(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            if is_white(pixels).any():
                raise MemoryError
            return super().encode_images(pixels)

    ran = fake(Shy(), *pictures, "--batch-size", 4)

    codes = [row["error"]["code"] if row["status"] == "error" else None for row in ran.rows]
    assert ran.code == 3 and codes == [None] * 4 + ["out_of_memory"] + [None] * 4


@pytest.fixture
def scarce() -> Iterator[Callable[[int], None]]:
    """Leave this process so many bytes of addresses beyond those that it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)

    def leave(size_bytes: int) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + size_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))

    yield leave
    resource.setrlimit(resource.RLIMIT_AS, before)


def large_png(side: int) -> bytes:
    """A white picture of one bit a pixel, which takes eight times as much when it is open."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj(1)
    row = b"\0" + b"\xff" * (side // 8)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    size = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.accepts("F7")
@pytest.mark.skipif(sys.platform != "linux", reason="limits the addresses as Linux counts them")
def test_no_memory_for_one_picture_is_its_row(fake, pictures, tmp_path, scarce):
    (tmp_path / "large.png").write_bytes(large_png(24_000))  # 576 MB when it is open
    mixed = (*pictures[:4], tmp_path / "large.png", *pictures[4:])
    expected = fake(FakeEngine(), *pictures)

    scarce(400 << 20)
    ran = fake(FakeEngine(), *mixed, "--max-pixels", 2**31)

    assert ran.code == 3 and ran.rows[4]["error"]["code"] == "out_of_memory"
    assert [row for row in ran.rows if row["status"] == "ok"] == expected.rows


# processors


@pytest.mark.accepts("F8")
@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_a_process_that_may_use_few_processors_of_many_has_few_threads(
    compiled_tiny, tiny_local, monkeypatch, one_thread, allowed
):
    import torch

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(allowed)))
    torch.set_num_threads(64)

    session = OnnxEngine(compiled.place(compiled_tiny, tiny_local))._image_tower.shared
    TorchEngine(tiny_local, device="cpu")

    threads = session.get_session_options().intra_op_num_threads
    assert threads == torch.get_num_threads() == cpus.usable() <= allowed
    assert read_ahead._workers() == max(2, cpus.usable())  # one may be slow


# open_clip's


@pytest.mark.accepts("F9")
def test_a_built_head_is_that_of_open_clip(zsclip, small_clip_folder, tmp_path):
    import open_clip

    names = ["cat", "hot dog", "T-shirt", "O'Neill", "naïve café"]
    options = [word for name in names for word in ("--label", name)]
    path = tmp_path / "h.safetensors"
    templates = load_templates("imagenet80").templates
    oracle = open_clip.create_model(f"local-dir:{small_clip_folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{small_clip_folder}")
    theirs = open_clip.build_zero_shot_classifier(
        oracle, tokenizer, names, [lambda name, t=t: t.replace("{}", name) for t in templates]
    ).T.numpy()

    ran = zsclip("build-head", *options, "--model", small_clip_folder, "-o", path)

    cosine = (load_head(path).weight * theirs).sum(axis=1)
    assert ran.code == 0 and cosine.min() > 0.99999, cosine
