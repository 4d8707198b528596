"""The layers: imports go down only, and each heavy package has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zsclip

PACKAGE = Path(zsclip.__file__).parent

# top to bottom; modules of one line may not import each other, except where EQUALS says so
LAYERS = (
    ("__main__",),
    ("cli",),
    ("tables",),
    ("console",),
    ("reports.figures", "reports.classification"),
    ("resuming",),
    ("sorting.sorter", "sorting.sort_undo"),
    ("sorting.sort_history",),
    ("sorting.sort_log",),
    ("sorting.sort_records",),
    ("sorting.placement", "sorting.sort_target"),
    ("sorting.file_names", "sorting.source_files"),
    ("feature_files",),
    ("evaluate", "shot_curve", "calibrate"),
    ("predictions", "probe"),
    ("classifier", "label_meaning"),
    ("background", "template_weights"),
    ("head_builder",),
    ("heads", "class_tokens"),
    ("loading", "labelled_features"),
    ("embedding",),
    ("encoders", "diagnosis"),
    ("engines.opening",),
    ("engines.compile",),
    ("engines.torch_engine", "engines.onnx_engine", "engines.fake", "engines.image_encoder"),
    ("engines.base", "engines.torch_model", "engines.towers", "engines.compiled"),
    ("engines.checkpoint",),
    ("cache", "hf_tokenizer", "read_ahead"),
    (
        "readers.known",
        "readers.folder",
        "readers.manifest",
        "readers.webdataset",
        "readers.huggingface",
    ),
    ("readers.layouts",),
    ("readers.annotation_files", "readers.torchvision_sets"),
    ("readers.entries", "readers.video"),
    ("readers.base", "readers.class_names", "image_cache", "reports.thumbnails"),
    ("cache_file",),
    ("weights", "inputs", "label_files", "label_check"),
    ("few_shot", "rules"),
    ("images", "pixels", "labels", "tokenizer", "token_tree", "scoring"),
    ("metrics", "linear_probe", "draws"),
    ("reports.pages", "reports.charts"),
    ("published",),
    ("figures",),
    ("intervals", "calibration", "temperature", "conformal"),
    ("decoders",),
    ("formats", "decoding", "containers"),
    ("datasets",),
    ("prompts",),
    ("models",),
    ("plain_yaml", "data_files", "hub"),
    ("writers",),
    ("results", "plain_text"),
    ("errors", "cpus", "globs", "thread_pool"),
)
LEVEL = {name: level for level, names in enumerate(reversed(LAYERS)) for name in names}
PACKAGES = ("", "engines", "readers", "reports", "sorting")
"""What their `__init__` has: the public names, which are lazy, or a sentence only."""
HOMES = {
    "torch": {
        "engines.torch_engine",
        "engines.torch_model",
        "engines.towers",
        "engines.checkpoint",
        "engines.compile",
    },
    "open_clip": {"engines.torch_model", "engines.towers"},
    "timm": {"engines.torch_model"},
    "tokenizers": {"hf_tokenizer"},
    "transformers": {"hf_tokenizer"},
    "onnxruntime": {"engines.onnx_engine"},
    "torchvision": {"readers.torchvision_sets"},
    "scipy": set(),
    "h5py": {"readers.annotation_files"},
    "av": {"readers.video"},
    "datasets": {"readers.huggingface"},
    "pyarrow": {"feature_files"},
    "sklearn": {"linear_probe"},
    "jinja2": {"reports.pages"},
    "typer": {"cli"},
    "rich": {"console", "tables"},
    "click": set(),
    "pickle": set(),
    "yaml": {"plain_yaml"},
    "sqlite3": {"cache", "cache_file", "image_cache"},
    "huggingface_hub": {"hub"},
    "safetensors": {"heads", "engines.checkpoint"},
    "requests": set(),
    "pillow_heif": {"decoders"},
    "filelock": {"cache_file", "engines.compiled"},
}


def unit_of(path: Path) -> str:
    """`heads` for heads.py, `engines.base` for engines/base.py, `cli` for all of cli/."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] == "cli":
        return "cli"
    return ".".join(part for part in parts if part != "__init__")


def modules():
    return {path: unit_of(path) for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path):
    """Full dotted names of all that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def own_unit(name: str) -> str | None:
    """The unit of zsclip that `zsclip.heads.Head` or `zsclip.engines.base.Engine` is in."""
    parts = name.split(".")
    if parts[0] != "zsclip":
        return None
    if parts[1:2] == ["cli"]:
        return "cli"
    for length in (3, 2):
        unit = ".".join(parts[1:length])
        if unit in LEVEL:
            return unit
    return ""


def test_every_module_has_a_layer():
    units = {unit for unit in modules().values() if unit not in PACKAGES}

    assert units - LEVEL.keys() == set()


def test_every_layer_has_a_module():
    assert set(LEVEL) - set(modules().values()) == set()


def test_imports_go_down_only():
    upward = [
        f"{path.relative_to(PACKAGE)}:{line}: {unit} imports {target}"
        for path, unit in modules().items()
        if unit not in PACKAGES
        for name, line in imports_of(path)
        if (target := own_unit(name)) and target != unit and LEVEL[target] >= LEVEL[unit]
    ]

    assert upward == []


def test_nothing_below_the_command_line_imports_the_package_itself():
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path, unit in modules().items()
        if unit not in ("", "cli")
        for name, line in imports_of(path)
        if name == "zsclip" or name == "zsclip.__version__"
    ]

    assert found == []


@pytest.mark.parametrize("package", HOMES)
def test_a_heavy_package_has_one_home(package):
    users = {
        unit
        for path, unit in modules().items()
        for name, _ in imports_of(path)
        if name.split(".")[0] == package
    }

    assert users <= HOMES[package], users


def test_no_module_prints():
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("print", "input", "exit", "quit")
    ]

    assert found == []


def test_only_what_is_for_people_and_the_command_line_write_to_standard_streams():
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path, unit in modules().items()
        if unit not in ("console", "tables", "cli")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr")
        # whether a bar may be drawn is asked of stderr, not written to it
        if f"sys.{node.attr}.isatty" not in lines_of(path)[node.lineno - 1]
    ]

    assert found == []


def test_no_file_has_a_vague_name():
    vague = {"utils.py", "helpers.py", "common.py", "misc.py", "util.py"}

    assert [path.name for path in modules() if path.name in vague] == []


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(PACKAGE))
        for path in modules()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert silent == []


def test_no_text_is_formatted_by_what_users_type():
    # `str.format` on a template leaks attributes and can make a text of a gigabyte
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("format", "format_map")
        if not (isinstance(node.value, ast.Name) and node.value.id in ("image", "picture"))
    ]

    assert found == []


# what a run really imports

HEAVY = (
    "torch", "torchvision", "open_clip", "timm", "transformers", "onnxruntime", "huggingface_hub",
    "safetensors", "sqlite3", "PIL", "numpy", "ftfy", "rich", "yaml",
)  # fmt: skip
MODEL = HEAVY[: HEAVY.index("sqlite3")]


def loaded_by(code: str, *, environment: dict[str, str] | None = None) -> set[str]:
    """Heavy packages that a process has loaded after this code."""
    import os

    script = (
        "import contextlib, io, sys\n"
        "with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())),"
        " contextlib.redirect_stderr(io.StringIO()):\n"
        "    try:\n"
        + "".join(f"        {line}\n" for line in code.splitlines())
        + "    except SystemExit:\n        pass\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(environment or {})},
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import zsclip") == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["classify", "--help"],
        ["classify", "--none-such"],
        ["classify"],
        ["classify", "a.jpg"],
        ["classify", "a.jpg", "--labels", "cat", "--head", "x.safetensors"],
        ["none-such"],
        ["templates"],
        ["datasets"],
    ],
    ids=" ".join,
)
def test_what_needs_no_model_loads_no_model(arguments):
    loaded = loaded_by(f"from zsclip.cli import main\nmain({arguments!r})")

    assert loaded & set(MODEL) == set()


@pytest.mark.parametrize("words", ["zsclip ", "zsclip classify --model ViT", "zsclip classify --l"])
def test_shell_completion_loads_no_model(words):
    loaded = loaded_by(
        "from zsclip.cli import main\nmain([])",
        environment={
            "_ZSCLIP_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
    )

    assert loaded & set(MODEL) == set()


def test_public_names_are_loaded_when_used():
    assert loaded_by("import zsclip\nzsclip.Result\nzsclip.ZsclipError") == set()


def test_loading_a_model_does_not_load_torch(small_clip_folder, tmp_path):
    loaded = loaded_by(
        "import zsclip\n"
        f"zsclip.load_model({str(small_clip_folder)!r}, cache_dir={str(tmp_path)!r})"
        '.tokenize(["a cat"])'
    )

    assert loaded & {"torch", "torchvision", "open_clip", "timm", "transformers"} == set()


def test_a_head_that_is_in_the_cache_does_not_load_torch(small_clip_folder, tmp_path):
    arguments = f"['cat', 'dog'], model={str(small_clip_folder)!r}, cache_dir={str(tmp_path)!r}"
    zsclip.build_head(["cat", "dog"], model=str(small_clip_folder), cache_dir=tmp_path)

    loaded = loaded_by(f"import zsclip\nzsclip.build_head({arguments})")

    assert loaded & {"torch", "open_clip", "huggingface_hub"} == set()
