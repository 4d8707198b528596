"""Texts that trip programs up, made for use as labels: one line each, of every kind of trouble.

Some are labels that a model can read, some are not: the tests say which, by open_clip's tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u061c\u180e\u2061\u2062\u2063\u2064"
_DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SPACES = "\xa0\u1680\u2000\u2003\u2007\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_COMBINING = "\u0300\u0301\u0308\u0327\u0338\u0345\u0489\u05b0\u0651\u0e31\u20dd\u20e3\ufe0f"
_SCRIPTS = (
    "кошка", "γάτα", "猫", "ねこ", "ネコ", "고양이", "แมว", "बिल्ली", "பூனை", "კატა", "կատու", "ድመት",
    "ཞི་མི", "ကြောင်", "ឆ្មា", "ແມວ", "ᏪᏌ", "ᐳᓯ", "قطة", "گربه", "חתול", "ܩܛܘ", "ބުޅާ", "߰ߋ",
    "𓃠", "𐤀𐤁", "𝒸𝒶𝓉", "🄲🄰🅃", "ｃａｔ", "ﬁsh", "ǅ", "ẞ", "ǆ", "ﷺ", "꧁꧂",
)  # fmt: skip
_EMOJI = (
    "🐈", "🐈‍⬛", "❤", "❤️", "❤️‍🔥", "👍", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🏴‍☠️", "🇫🇷", "🇫", "1️⃣", "#️⃣",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "🫠", "☺", "☹︎", "㊗️", "🀄",
)  # fmt: skip
_INJECTIONS = (
    "1; DROP TABLE classes", "1'; DROP TABLE classes--", '" OR ""="', "' OR 1=1 -- 1", "%", "_",
    "\\", "\\\\", "`ls -al /`", "$(touch /tmp/x)", "$HOME", "${IFS}", "%x%x%n", "%s", "%(label)s",
    "{0}", "{}", "{{}}", "{label}", "{0.__class__.__mro__}", "{:>999999999}", "<b>cat</b>", "&lt;",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--", "]]>", "<![CDATA[x]]>",
    "&amp;", "&amp;amp;", "&nbsp;", "&#0;", "&#9;", "&#127;", "&#x1F408;", "&#55296;", "&unknown;",
    "../../etc/passwd", "/dev/null", "C:\\con", "file:///etc", "javascript:0", "-rf", "--help", "-",
    "--", "@cat", "=1+1", "+1", "=cmd|' /C calc'!A0", "#", "# comment", "//", "/*", "*", "?", "~",
    "[/x]", "[bold]", "\\x1b[31m", "\\n", "\\u0000", "\\", "'", '"', "''", '""', "“", "’", "«", "…",
    "null", "None", "NULL", "undefined", "nil", "NaN", "inf", "-Infinity", "true", "TRUE", "True",
    "no", "yes", "~", "0", "00", "1.0", "1,000", "1e3", "1E+02", "0x1F", "-0", "٣", "½", "²", "Ⅷ",
    "!!python/object/apply:os.system ['true']", "*alias", "&anchor", "- a", "a: b", "|", ">", "---",
    "<end_of_text", "end_of_text>", "< end_of_text >", "<|endoftext|>", "</s>", "<pad>", "</w>",
    "<start_of_text>", "<end_of_text>", "&lt;end_of_text&gt;", "＜end_of_text＞", "<END_OF_TEXT>",
)  # fmt: skip
_LOOKALIKES = (
    "paypal", "pаypal", "раураl", "scope", "ѕсоре", "Å", "Å", "A\u030a", "ſ", "s", "K", "K", "Ω",
    "Ω", "µ", "μ", "ö", "o\u0308", "ı", "i", "İ", "I", "l", "1", "O", "０", "０", "–", "—", "-",
    "‐", "rn", "m", "vv", "w", "don't", "don’t", "donʼt", "e\u0301", "é", "naïve", "nai\u0308ve",
)  # fmt: skip
_MOJIBAKE = ("café", "“cat”", "naïve", "€5", "Ångström", "façade — œuvre", "Zürich’s")
_CONTROLS = (*map(chr, (0, 1, 7, 8, 9, 11, 12, 13, 27, 28, 31, 127, 128, 133, 155, 159)), "\udce9")


def naughty_strings() -> list[str]:
    """Some 600 different texts, always the same, without line feeds."""
    return list(dict.fromkeys(_made()))


def _made() -> Iterator[str]:
    for word in (*_SCRIPTS, *_EMOJI, *_INJECTIONS, *_LOOKALIKES):
        yield word
        yield f"cat {word}"
    for char, form in product(_ZERO_WIDTH + _DIRECTIONS, ("{}", "c{}at", "{}cat", "cat{}")):
        yield form.replace("{}", char)
    for char, form in product(_SPACES, ("hot{}dog", "hot{}{}dog", "{}hot dog{}")):
        yield form.replace("{}", char)
    for mark in _COMBINING:
        yield from (mark, f"cat{mark}", f"c{mark}a{mark}t{mark}", "t" + mark * 40)
    for word in ("Cat", "CAT", "cAT", "STRASSE", "straße", "ΟΔΟΣ", "οδος", "οδοσ", "İ", "ıI", "Ǆ"):
        yield from (word, word.lower(), word.upper(), word.swapcase(), word.title())
    for text in _MOJIBAKE:
        yield from (text, text.encode().decode("cp1252", "replace"))
    for char in "a1!猫é🐈\u0301_-":
        yield from (char * length for length in (2, 20, 24, 300, 2000))
    for control, form in product(_CONTROLS, ("ca{}t", "{}cat")):
        yield form.replace("{}", control)
    for plane in range(0x11):
        yield from (chr(plane << 16 | last) for last in (0xFFF0, 0xFFFD, 0xFFFE, 0xFFFF))
    yield from (
        "\U000e0001",
        "\ue000",
        "\uf8ff",
        "\ufff9cat\ufffb",
        "\ufdd0",
        "\u2fff",
        "\U00010ffd",
    )
    yield from ("hot dog", "hot  dog", "hot   dog ", "Hot-dog", "hot - dog", "hot_dog", "hot.dog")
    yield from (
        "שלום cat مرحبا",
        "\u202ecat\u202c dog",
        "tac\u202e",
        "٢٠٢٤",
        "۱۲۳",
        "१२३",
        "Ⅳ",
        "⅓",
    )
