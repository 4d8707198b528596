"""Any bytes give a value or the documented exception; and the fuzzer sees what does not."""

from __future__ import annotations

import json
import signal
import warnings
from pathlib import Path

import pytest
from fuzz import campaign, seeds
from fuzz.attempts import Attempts, Diary, scratch_folder
from fuzz.canaries import CANARIES
from fuzz.mutator import Mutator
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from zsclip import labels
from zsclip.errors import HeadError, LabelError, UsageError
from zsclip.heads import load_head
from zsclip.models import ModelSource, model_names, resolve

MUTANTS = 300
ONE_FOLDER = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def mutants(name: str, count: int) -> list[bytes]:
    target = TARGETS[name]
    known = target.seeds()
    mutator = Mutator(known, target.words, largest_bytes=target.largest_bytes, seed=1)
    return [*known, *(mutator.mutant() for _ in range(count))]


@pytest.fixture
def scratch():
    with scratch_folder() as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_some_mutants_keep_the_promise(name, scratch, tried):
    inputs = mutants(name, MUTANTS)
    tried(len(inputs))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = {TARGETS[name].run(content, scratch) for content in inputs}

    assert len(outcomes) > 3  # values, and refusals of several kinds


def test_mutants_are_the_same_for_the_same_seed():
    assert mutants("heads", 50) == mutants("heads", 50)


# the fuzzer itself


def fuzz(name: str, folder: Path, **options: object) -> campaign.Report:
    usual = {"engine": "mutants", "seconds": 0.2, "seed": 0}
    return campaign.run(name, CANARIES[name], folder, **usual | options)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("kill", signal.SIGSEGV.name), ("hang", "hang"), ("hoard", "memory"), ("raise", "KeyError")],
)
def test_what_breaks_a_promise_is_found_and_kept(name, kind, tmp_path):
    report = fuzz(name, tmp_path, time_limit_s=0.2 if name == "hang" else 10)

    assert {path.name.partition("-")[0] for path in report.findings} == {kind}
    assert report.executions >= 1
    assert all(path.stat().st_size <= len(b"canary") for path in report.findings)


def test_what_is_raised_in_one_place_is_kept_once(tmp_path):
    attempts = Attempts(
        CANARIES["raise"], tmp_path, Diary(tmp_path / "diary", 10), scratch=tmp_path
    )

    outcomes = {attempts(content) for content in (b"longer", b"one", b"other")}

    assert len(outcomes) == 1 and outcomes.pop().startswith("KeyError canaries.py:")
    assert [path.read_bytes() for path in attempts.findings] == [b"one"]


# for any value, not any bytes


@ONE_FOLDER
@given(st.lists(st.text()))
@example(["cat", "cat", " dog\u3000"])
@example(["\x85", "a\u2028b"])
def test_labels_that_are_written_are_read_again(scratch, names):
    path = scratch / "labels.txt"
    lines = [name for name in names if "\n" not in name]
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())

    expected = list(dict.fromkeys(filter(None, map(str.strip, lines))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = [one.label for one in labels.unique(labels.from_file(path))]
        except LabelError:
            assert not (expected and "".join(lines).isprintable())
        else:
            assert found == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["class_names", "kind", "scale", "score_kind", "provenance", "version"]
    + [f"provenance.{key}" for key in ("model", "revision", "templates", "fingerprint", "more")]
)


@ONE_FOLDER
@given(st.dictionaries(KEYS, JSON, min_size=1, max_size=2))
@example({"scale": 10**400})
@example({"provenance.revision": 3})
def test_a_head_with_any_header_is_a_head_or_refused(scratch, changes):
    header = json.loads(seeds.head()._header())
    for key, value in changes.items():
        part, _, inner = key.rpartition(".")
        (header[part] if part and isinstance(header.get(part), dict) else header)[inner] = value
    arrays = {"weight": seeds.head().weight, "bias": seeds.head().bias}
    path = scratch / "head.safetensors"
    path.write_bytes(save(arrays, metadata={"zsclip-head": json.dumps(header)}))

    try:
        loaded = load_head(path)
    except HeadError as error:
        assert str(path) in error.message and "\n" not in error.message
    else:
        assert len(loaded.digest) == 64


@pytest.mark.parametrize("text", ["[" * 100_000, '{"scale":' * 100_000], ids=["lists", "mappings"])
def test_a_header_that_is_nested_without_end_is_refused(tmp_path, text):
    path = tmp_path / "head.safetensors"
    arrays = {"weight": seeds.head().weight, "bias": seeds.head().bias}
    path.write_bytes(save(arrays, metadata={"zsclip-head": text}))

    with pytest.raises(HeadError, match="damaged or not a head"):
        load_head(path)


PARTS = st.sampled_from(["hf-hub:", "/", ":", "..", "~", "ViT-B-32", "openai", "tiny", "\0", "é"])


@ONE_FOLDER
@given(st.text() | st.lists(PARTS | st.text(max_size=3), max_size=6).map("".join))
@example("\ud800")
@example("x" * 5000)
@example("hf-hub:" + "a-" * 5000)
def test_any_model_name_is_one_or_a_usage_error(name):
    try:
        source = resolve(name)
    except UsageError as error:
        assert name not in model_names() and len(error.message) < len(repr(name)) + 500
    else:
        assert isinstance(source, ModelSource)
