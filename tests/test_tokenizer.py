"""CLIP's tokenizer equals open_clip's, apart from what it refuses."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zsclip.datasets import load_dataset
from zsclip.errors import ModelError, TextError
from zsclip.prompts import expand, load_templates
from zsclip.tokenizer import ClipTokenizer, check_options, clean

THOUSANDS = settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SPECIAL = ("<start_of_text>", "<end_of_text>")
N_GENERATED = 100_000 if os.environ.get("ZSCLIP_LONG_TESTS") else 4_000


@pytest.fixture(scope="session")
def oracle():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


@pytest.fixture(scope="session")
def tokenizer():
    return ClipTokenizer()


def mojibake(text: str) -> str:
    """What UTF-8 looks like when it is read as Windows-1252."""
    return text.encode("utf-8").decode("cp1252", "replace")


PIECES = [
    "&amp;", "&amp;amp;", "&lt;", "&#39;", "&#x1F600;", "&nbsp;", "&", ";", "&eacute", "&#0;",
    "👍🏽", "👩‍👩‍👧", "🇫🇷", "❤️", "é", "e\u0301", "ß", "İ", "ﬁ", "Ⅷ", "½",
    "²", "٣", "猫", "ไทย", "한",
    "it's", "I'LL", "we've", "'D", "don’t", "''", "_", "__", "<", ">", "<end", "<|", "{}", "\\",
    "\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "\x9b", "\u200b", "\u200d", "\ufeff", "\u2028",
    "\u3000", "\t", "\r\n", " ", "\xa0", "A", "Zebra", "2024", "3.14", "C++", "#1", "½lb", "ſ",
]  # fmt: skip


def generated(count: int, *, seed: int) -> list[str]:
    """Texts of every kind: Unicode, pieces, mojibake, control characters, digits, long words."""
    pick = random.Random(seed)
    scripts = [(32, 127), (32, 127), (0, 0x250), (0x300, 0xD800), (0xE000, 0x10000)]
    scripts += [(0x1F300, 0x1FB00), (0x10000, 0x110000)]

    def characters(length: int) -> str:
        return "".join(chr(pick.randrange(*pick.choice(scripts))) for _ in range(length))

    def word() -> str:
        return "".join(pick.choices("aeiounrstlzqé'-_0123456789", k=pick.randrange(1, 12)))

    kinds = (
        lambda: characters(pick.randrange(30)),
        lambda: "".join(pick.choices(PIECES, k=pick.randrange(9))),
        lambda: " ".join(pick.choices(PIECES, k=pick.randrange(9))),
        lambda: " ".join(word() for _ in range(pick.randrange(40))),
        lambda: mojibake(characters(pick.randrange(12)) + pick.choice(PIECES)),
        lambda: characters(1) * pick.randrange(300) + word() * pick.randrange(30),
        lambda: f"&#{pick.randrange(0x3000)};&amp;#x{pick.randrange(0x3000):x};{word()}",
        lambda: "".join(chr(pick.randrange(0xA0)) for _ in range(pick.randrange(20))),
    )
    return [kinds[i % len(kinds)]() for i in range(count)]


@THOUSANDS
@given(text=st.text(max_size=40))
def test_any_unicode_text_gives_open_clips_tokens(oracle, tokenizer, text):
    assert tokenizer.encode(text) == oracle.encode(text)


@THOUSANDS
@given(text=st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@example("&lt;end_of_text&gt;")
@example("<START_OF_TEXT>")
@example("&amp;amp;lt;end_of_text>")
def test_entities_emoji_and_control_characters_give_open_clips_tokens(oracle, tokenizer, text):
    assert tokenizer.encode(text) == oracle.encode(text)


@settings(max_examples=500, deadline=None)
@given(text=st.text(alphabet="éèüñçß€™ŒÄÖ “”—’àåø¿ abc", max_size=30).map(mojibake))
def test_mojibake_gives_open_clips_tokens(oracle, tokenizer, text):
    assert tokenizer.encode(text) == oracle.encode(text)


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=200))
def test_rows_equal_open_clips_truncated_rows(oracle, tokenizer, text):
    encoded = tokenizer.encode(text)
    if any(number >= 49406 for number in encoded):
        return  # special tokens: refused, tested below

    ours, theirs = tokenizer([text], truncate=True), oracle([text]).numpy()

    assert np.array_equal(ours, theirs)


def test_all_prompts_of_cifar100_give_open_clips_tokens(oracle, tokenizer):
    known = load_dataset("cifar100")
    prompts = [p for row in expand(known.class_names, known.templates) for p in row]

    assert len(prompts) >= 1800
    assert np.array_equal(tokenizer(prompts), oracle(prompts).numpy())


def test_prompts_of_cifar100_in_the_80_give_open_clips_tokens(oracle, tokenizer):
    names = load_dataset("cifar100").class_names
    prompts = [p for row in expand(names, load_templates("imagenet80")) for p in row]

    assert len(prompts) >= 100 * 80
    assert np.array_equal(tokenizer(prompts), oracle(prompts).numpy())


def test_prompts_of_imagenet_give_open_clips_tokens(oracle, tokenizer):
    import open_clip

    step = 1 if os.environ.get("ZSCLIP_LONG_TESTS") else 5
    names = [(name,) for name in open_clip.IMAGENET_CLASSNAMES[::step]]
    prompts = [p for row in expand(names, load_templates("imagenet80")) for p in row]

    assert len(prompts) == 1000 // step * 80
    assert np.array_equal(tokenizer(prompts), oracle(prompts).numpy())


def test_generated_texts_give_open_clips_tokens(oracle, tokenizer):
    # 100,000 with `make test-long`
    different = [
        text
        for text in generated(N_GENERATED, seed=3)
        if tokenizer.encode(text) != oracle.encode(text)
    ]

    assert different == []


@pytest.mark.parametrize("how", ["lower", "whitespace", "canonicalize"])
def test_every_way_of_cleaning_is_open_clips(how):
    from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

    texts = [*generated(1_500, seed=4), "ΟΔΟΣ", "ΟΔΟΣ _Σ", "A_B  c!", "it's", "{}", "İ_ı"]
    reference, own = SimpleTokenizer(clean=how), ClipTokenizer(clean=how)

    assert [clean(text, how) for text in texts] == [get_clean_fn(how)(text) for text in texts]
    assert all(own.encode(text) == reference.encode(text) for text in texts)


@given(text=st.text(alphabet=st.characters(max_codepoint=127), max_size=60))
@settings(max_examples=500, deadline=None)
@pytest.mark.parametrize("how", ["lower", "canonicalize"])
def test_plain_text_is_cleaned_as_any_other(how, text):
    from open_clip.tokenizer import get_clean_fn

    assert clean(text, how) == get_clean_fn(how)(text)


def test_the_options_of_a_configuration_are_followed_or_refused():
    check_options({"clean": "canonicalize"}, "clean")

    for options in ({"clean": "title"}, {"clean": None}, {"reduction_mask": "syntax"}):
        with pytest.raises(ModelError, match="is not supported"):
            check_options(options, "clean")


@pytest.mark.parametrize("length", [8, 16, 32, 64, 76, 77])
def test_truncation_equals_open_clips_at_any_context_length(oracle, length):
    text = "a very long sentence " * 30

    ours = ClipTokenizer(length)([text], truncate=True)

    assert np.array_equal(ours, oracle([text], context_length=length).numpy())


def test_a_text_that_just_fits_is_read_whole(tokenizer):
    tokens = tokenizer(["cat " * 75])

    assert tokens[0, -1] == 49407


def test_a_text_that_is_one_token_too_long_is_refused_with_the_count(tokenizer):
    with pytest.raises(TextError, match="has 78 > 77 tokens"):
        tokenizer(["cat " * 76])


def test_a_refusal_says_which_text_it_is(tokenizer):
    with pytest.raises(TextError) as caught:
        tokenizer(["cat", "dog", "cat " * 80])

    assert caught.value.index == 2


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        *SPECIAL,
        "a photo of <end_of_text> cat",
        "a <END_OF_TEXT>",
        "&lt;end_of_text&gt;",
        "&amp;lt;start_of_text&amp;gt;",
        "cat " * 80 + "<end_of_text>",
    ],
)
def test_special_tokens_inside_a_text_are_refused(tokenizer, text, truncate):
    with pytest.raises(TextError, match="special tokens"):
        tokenizer([text], truncate=truncate)


@pytest.mark.parametrize(
    "text", ["end_of_text", "< end_of_text >", "<end of text>", "<end_of_text"]
)
def test_text_that_only_looks_like_a_special_token_is_read(tokenizer, text):
    assert tokenizer([text])[0, 0] == 49406


def test_an_empty_text_is_start_and_end(tokenizer):
    assert tokenizer([""])[0, :3].tolist() == [49406, 49407, 0]


def test_no_texts_give_no_rows(tokenizer):
    assert tokenizer([]).shape == (0, 77)


def test_tokens_are_int64(tokenizer):
    assert tokenizer(["cat"]).dtype == np.int64
