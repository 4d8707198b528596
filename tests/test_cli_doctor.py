"""`zsclip doctor`: what a bug report needs, and nothing that is nobody's business."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
from conftest import hub_environment
from loopback_hub import Repository

from zsclip import diagnosis
from zsclip.cache import TextCache
from zsclip.engines import compiled, opening
from zsclip.models import resolve

SECRET = "hf_aSecretThatNobodyMaySee"


@pytest.fixture(autouse=True)
def enough_space(monkeypatch):
    """Whatever this machine has."""
    monkeypatch.setattr(diagnosis, "_FEW_BYTES", 0)


@pytest.fixture
def found(zsclip):
    """The record that `zsclip doctor --json` prints."""

    def run(*options):
        ran = zsclip("doctor", "--json", *options)
        assert ran.code == 0 and ran.stderr == "", ran
        return json.loads(ran.stdout)

    return run


def test_versions_are_those_that_are_installed(found):
    record = found("--offline")

    assert record["zsclip"] == metadata.version("zsclip")
    assert record["packages"]["torch"] == metadata.version("torch")
    assert record["extras"]["hf"]["sentencepiece"] == metadata.version("sentencepiece")
    assert not {"dev", "fuzz"} & record["extras"].keys()


def test_a_package_that_is_missing_is_a_problem_and_the_exit_code_stays_0(found, monkeypatch):
    asked = ["torch>=2.4", "no-such-package[x]>=1", "no-such-codec>=2; extra == 'heif'"]
    monkeypatch.setattr(diagnosis.metadata, "requires", lambda name: asked)

    record = found("--offline")

    assert record["packages"]["no-such-package"] is None
    assert record["extras"] == {"heif": {"no-such-codec": None}}
    assert record["problems"] == ["not installed, though zsclip needs it: no-such-package"]


def test_a_checkout_that_is_not_installed_still_names_its_packages(found, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(diagnosis.metadata, "requires", missing)

    assert found("--offline")["packages"]["torch"] == metadata.version("torch")


def test_what_pillow_reads_is_listed(found):
    from PIL import features

    codecs = found("--offline")["codecs"]

    assert codecs["jpeg"] == features.version("jpg")
    assert (codecs["avif"] is not None) == features.check("avif")
    assert (codecs["jpeg2000"] is not None) == features.check("jpg_2000")


def test_processors_come_with_what_limits_them(found, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    processors = found("--offline")["processors"]

    assert processors["usable"] == 1 and processors["limits"]["OMP_NUM_THREADS"] == 1
    assert processors["limits"]["scheduler"] >= 1 and processors["present"] == os.cpu_count()


def test_a_sign_of_an_accelerator_is_named_with_what_auto_makes_of_it(found, monkeypatch, tmp_path):
    node = tmp_path / "nvidia0"
    node.touch()
    monkeypatch.setattr(opening, "_ACCELERATORS", (str(node),))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", "/nowhere")

    devices = found("--offline")["devices"]

    assert devices["signs_of_accelerators"] == [str(node)]
    assert devices["auto_wants_torch"] and devices["torch"] is None


def test_full_asks_torch_which_devices_it_sees(found):
    devices = found("--offline", "--full")["devices"]

    assert devices["torch"]["cpu"]


def test_torch_is_not_imported_unless_it_is_asked(tmp_path):
    code = (
        "import sys; from zsclip.cli import main; main(['doctor', '--offline'])\n"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'open_clip', 'onnxruntime')))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=hub_environment("http://127.0.0.1:9", tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.returncode == 0, ran.stderr


# folders


def test_an_empty_machine_has_no_files_and_doctor_makes_none(found, tmp_path):
    place = found("--offline")["cache"]

    assert (place["exists"], place["writable"]) == (False, True)
    assert place["text_bytes"] == place["images_bytes"] == place["compiled_bytes"] == 0
    assert not (tmp_path / "cache").exists()


def test_caches_have_sizes_and_prepared_models_names(found, tmp_path):
    folder = tmp_path / "cache"
    prepared = folder / "compiled" / "a"
    prepared.mkdir(parents=True)
    (prepared / "image.onnx").write_bytes(b"x" * 1000)
    facts = dict.fromkeys(field.name for field in dataclasses.fields(compiled.About))
    del facts["files"], facts["digests"]
    compiled.write_about(prepared, **{**facts, "model": "tiny@123456"})
    TextCache(folder).facts["a"] = "b"

    place = found("--offline")["cache"]

    assert place["compiled_bytes"] == 1000 + (prepared / "about.json").stat().st_size
    assert place["text_bytes"] == (folder / "text.sqlite3").stat().st_size
    assert place["compiled"] == ["tiny@123456"]


def test_little_space_is_a_problem(found, monkeypatch):
    monkeypatch.setattr(diagnosis, "_FEW_BYTES", 1 << 80)

    assert found("--offline")["problems"][0].startswith("little space for the cache")


def test_a_folder_that_cannot_be_written_is_a_problem(found, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(diagnosis.os, "access", lambda path, mode: False)

    record = found("--offline")

    assert record["cache"]["writable"] is False
    assert record["problems"][0].endswith("cannot be written")


def test_a_file_in_place_of_the_folder_cannot_be_written(found, tmp_path):
    (tmp_path / "cache").write_text("")

    assert found("--offline")["cache"]["writable"] is False


def test_without_a_home_folder_there_is_no_cache_and_still_an_answer(zsclip, monkeypatch):
    monkeypatch.delenv("ZSCLIP_CACHE_DIR")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: diagnosis.Path("~/.cache"))

    shown, record = zsclip("doctor", "--offline"), zsclip("doctor", "--offline", "--json")

    assert shown.code == 0 and "there is no home folder" in shown.stdout
    assert json.loads(record.stdout)["cache"]["folder"] is None


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_the_home_folder_is_a_tilde_wherever_it_is_named(zsclip, tmp_path, monkeypatch, words):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZSCLIP_MODEL", f"{tmp_path}/models/mine")

    shown = zsclip("doctor", "--offline", *words).stdout

    assert str(tmp_path) not in shown
    assert "~/models/mine" in shown and "~/cache" in shown


def test_a_folder_whose_name_only_begins_like_the_home_folder_stays(monkeypatch):
    monkeypatch.setenv("HOME", "/home/max")

    shown = diagnosis._without_home(["/home/maxine/x", "/data/home/max/x", "a:/home/max:b"])

    assert shown == ["/home/maxine/x", "/data/home/max/x", "a:~:b"]


# the hub


def test_a_hub_that_answers_is_reachable(found, loopback):
    name = resolve("default").repo
    loopback.repositories[name] = Repository({"open_clip_model.safetensors": b"x" * 100})

    hub = found()["hub"]

    assert hub["reachable"] is True and hub["reason"] is None and hub["address"] == loopback.address
    assert len(loopback.requests) == 1


def test_a_hub_that_does_not_answer_is_a_problem_with_its_reason(found, loopback):
    loopback.close()

    record = found()

    assert record["hub"]["reachable"] is False
    assert "cannot be reached" in record["hub"]["reason"]
    assert record["problems"][0].startswith("the hub does not give the default model")


@pytest.mark.parametrize("setting", ["--offline", "HF_HUB_OFFLINE"])
def test_offline_the_hub_is_not_asked_and_that_is_no_problem(found, loopback, monkeypatch, setting):
    if setting == "HF_HUB_OFFLINE":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    record = found(*([setting] if setting.startswith("-") else []))

    assert record["hub"]["reachable"] is None and record["problems"] == []
    assert record["hub"]["reason"] == f"{setting} is set" and loopback.requests == []


# what is told of the environment


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_no_secret_is_told(zsclip, loopback, monkeypatch, words):
    address = f"https://someone:{SECRET}@127.0.0.1:9/{SECRET}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "ZSCLIP_SOMETHING"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("no_proxy", SECRET)

    shown = zsclip("doctor", *words).stdout

    assert SECRET not in shown and "someone" not in shown
    assert "HF_TOKEN" in shown and "no_proxy" in shown and "https://127.0.0.1:9" in shown


def test_settings_that_are_no_secret_are_told_with_their_values(zsclip, monkeypatch):
    monkeypatch.setenv("ZSCLIP_DEVICE", "cpu")

    ran = zsclip("doctor", "--offline")

    assert "ZSCLIP_DEVICE=cpu" in ran.stdout and "ZSCLIP_ENGINE=torch" in ran.stdout


def test_variables_that_are_not_about_zsclip_are_left_out(found, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    assert "AWS_SECRET_ACCESS_KEY" not in found("--offline")["environment"]


def test_a_value_cannot_disturb_the_terminal(zsclip, monkeypatch):
    monkeypatch.setenv("ZSCLIP_MODEL", os.fsdecode(b"a\x1b[31m\nb\xff"))

    ran = zsclip("doctor", "--offline")

    assert r"ZSCLIP_MODEL=a\x1b[31m\nb\udcff" in ran.stdout


def test_the_text_shows_each_section(zsclip):
    ran = zsclip("doctor", "--offline")

    keys = [line[:15].strip() for line in ran.stdout.splitlines()]
    assert [key for key in keys if key in ("zsclip", "python", "cache", "hub", "problems")] == [
        "zsclip", "python", "cache", "hub", "problems",
    ]  # fmt: skip
    assert ran.stdout.splitlines()[-1].split(maxsplit=1) == ["problems", "none found"]
