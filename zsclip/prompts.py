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

from zsclip import plain_text, plain_yaml
from zsclip.data_files import names, prompts_folder
from zsclip.errors import TemplateError, UnknownNameError, ZsclipWarning
from zsclip.plain_text import BLANKS, MAX_CHARACTERS, quoted

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
        TemplateError: if there is not exactly one hole, any other brace, or a control character,
            or if it is far too long.
    """
    fault = _fault(text)
    if fault is not None:
        tip = "write it like 'a photo of a {}.'"
        raise TemplateError(f"{where}: {fault}: {quoted(text)}", tip=tip)
    for hole in HOLES:
        text = text.replace(hole, "{}")
    return text


def _fault(template: str) -> str | None:
    if len(template) > MAX_CHARACTERS:
        return f"has {len(template):,} characters, more than {MAX_CHARACTERS:,}"
    rest, holes = template, 0
    for hole in HOLES:
        holes += rest.count(hole)
        rest = rest.replace(hole, "")
    if holes != 1 or "{" in rest or "}" in rest:
        return "needs exactly one {} for the class name"
    control = plain_text.control_character(template)
    return None if control is None else f"has a control character, {control!r}"


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
    if not isinstance(texts, list) or not texts:
        raise TemplateError(f"{path}: needs a list of templates, as in 'templates: [...]'")
    for number, text in enumerate(texts):
        if not isinstance(text, str) or _fault(text):
            line = plain_yaml.line_of(path, *(["templates"] if header else []), number)
            where = f"{path}: line {line}"
            if not isinstance(text, str):
                tip = "put it in quotation marks: '{}'"
                raise TemplateError(f"{where}: a template must be text", tip=tip)
            check_template(text, where=where)
    return TemplateSet(
        str(header.get("name", path.stem)),
        tuple(check_template(text, where=str(path)) for text in texts),
        str(header.get("description", "")),
    )


def _from_text(path: Path) -> TemplateSet:
    lines = plain_text.read(path, kind=TemplateError).split("\n")
    checked = tuple(
        check_template(line.strip(BLANKS), where=f"{path}: line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip(BLANKS)
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
        template = next(t for t in templates.templates if _ARTICLE_BEFORE_HOLE.search(t))
        prompt = template.replace("{}", doubled[0], 1)
        warnings.warn(
            f"label {quoted(doubled[0])} begins with an article: prompts read "
            f"{quoted(prompt)}; drop it or use --templates none",
            ZsclipWarning,
            stacklevel=2,
        )
