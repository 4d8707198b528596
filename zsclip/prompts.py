"""Prompt templates: find, load, check, and expand class names into prompts.

A template is text with exactly one hole, written `{}`, `{label}` or `{object}`; a prompt is a
template with a class name in it. The name is put in literally, never by `str.format`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zsclip import plain_yaml
from zsclip.data_files import names, prompts_folder
from zsclip.errors import TemplateError, UnknownNameError, ZsclipWarning

HOLES = ("{}", "{label}", "{object}")
DEFAULT_TEMPLATES = "imagenet80"
_ARTICLES = ("a ", "an ", "the ")
_ARTICLE_BEFORE_HOLE = re.compile(r"\b(a|an|the|my|one)(\s+\w+)?\s+\{\}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """An ordered list of templates with a name; every template has the hole `{}`."""

    name: str
    templates: tuple[str, ...]
    description: str = ""

    def with_kind(self, kind: str) -> TemplateSet:
        """Append `, a type of KIND` to each template, before a closing full stop.

        CLIP paper, section 3.1.4: "a photo of a {label}, a type of pet."
        """
        suffix = f", a type of {kind}"
        templates = tuple(
            check_template(
                f"{t[:-1]}{suffix}." if t.endswith(".") else f"{t}{suffix}", where="--kind"
            )
            for t in self.templates
        )
        return TemplateSet(f"{self.name}, a type of {kind}", templates, self.description)


def template_names() -> list[str]:
    """Names of the template sets that come with zsclip."""
    return names(prompts_folder() / "templates")


def check_template(text: str, *, where: str) -> str:
    """Return the template with its hole written `{}`.

    Raises:
        TemplateError: if there is not exactly one hole, or any other brace.
    """
    rest, holes = text, 0
    for hole in HOLES:
        holes += rest.count(hole)
        rest = rest.replace(hole, "")
    if holes != 1 or "{" in rest or "}" in rest:
        raise TemplateError(
            f"{where}: needs exactly one {{}} for the class name: {text!r}",
            tip="write it like 'a photo of a {}.'",
        )
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in text):
        raise TemplateError(f"{where}: has a control character: {text!r}")
    for hole in HOLES:
        text = text.replace(hole, "{}")
    return text


def templates_from_texts(texts: Sequence[str]) -> TemplateSet:
    """A template set from `--template` options, one text each."""
    checked = tuple(check_template(t, where=f"template {i}") for i, t in enumerate(texts, 1))
    return TemplateSet("custom", checked)


def load_templates(name_or_file: str) -> TemplateSet:
    """Load a packaged template set by name, or a file: YAML, or text with one template a line.

    Raises:
        UnknownNameError: neither a packaged name nor an existing file.
        TemplateError: the file has no templates, or one without exactly one hole.
    """
    packaged = prompts_folder() / "templates" / f"{name_or_file}.yaml"
    if name_or_file in template_names():
        return _from_yaml(packaged)
    path = Path(name_or_file)
    if not path.is_file():
        raise UnknownNameError(
            "template set", name_or_file, template_names(), tip="'zsclip templates' lists them all"
        )
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path)
    return _from_text(path)


def _from_yaml(path: Path) -> TemplateSet:
    content = plain_yaml.load(path)
    header = content if isinstance(content, dict) else {}
    texts = header.get("templates") if header else content
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise TemplateError(f"{path}: needs a list of templates, as in 'templates: [...]'")
    checked = tuple(
        check_template(text, where=f"{path}: template {i}") for i, text in enumerate(texts, 1)
    )
    return TemplateSet(
        str(header.get("name", path.stem)), checked, str(header.get("description", ""))
    )


def _from_text(path: Path) -> TemplateSet:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise TemplateError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TemplateError(f"{path}: not UTF-8; re-save it as UTF-8") from error
    checked = tuple(
        check_template(line.strip(), where=f"{path}: line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    )
    if not checked:
        raise TemplateError(f"{path}: no templates")
    return TemplateSet(path.stem, checked)


def expand(class_names: Sequence[Sequence[str]], templates: TemplateSet) -> list[list[str]]:
    """Prompts per class: every name of the class in every template, names outermost.

    Args:
        class_names: the names of each class; most classes have one.
    """
    return [
        [template.replace("{}", name, 1) for name in names for template in templates.templates]
        for names in class_names
    ]


def warn_about_articles(class_names: Sequence[str], templates: TemplateSet) -> None:
    """Warn where a class name brings its own article to templates that have one."""
    doubled = [n for n in class_names if n.lower().startswith(_ARTICLES)]
    if doubled and any(_ARTICLE_BEFORE_HOLE.search(t) for t in templates.templates):
        prompt = next(t for t in templates.templates if _ARTICLE_BEFORE_HOLE.search(t))
        warnings.warn(
            f"label {doubled[0]!r} begins with an article: prompts read "
            f"{prompt.replace('{}', doubled[0], 1)!r}; drop it or use --templates none",
            ZsclipWarning,
            stacklevel=2,
        )
