"""CLIP's tokenizer equals open_clip's, apart from what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zsclip.datasets import load_dataset
from zsclip.prompts import expand, load_templates
from zsclip.tokenizer import ClipTokenizer, TokenizeError

THOUSANDS = settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SPECIAL = ("<start_of_text>", "<end_of_text>")


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


PIECES = st.sampled_from(
    [
        "&amp;", "&amp;amp;", "&lt;", "&#39;", "&#x1F600;", "&nbsp;", "&", ";", "&eacute", "&#0;",
        "👍🏽", "👩‍👩‍👧", "🇫🇷", "❤️", "é", "e\u0301", "ß", "İ", "ﬁ", "Ⅷ", "½",
        "²", "٣", "猫", "ไทย", "한",
        "it's", "I'LL", "we've", "'D", "don’t", "''", "_", "__", "<", ">", "<end", "<|", "{}", "\\",
        "\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "\x9b", "\u200b", "\u200d", "\ufeff", "\u2028",
        "\u3000", "\t", "\r\n", " ", "\xa0", "A", "Zebra", "2024", "3.14", "C++", "#1", "½lb", "ſ",
    ]
)  # fmt: skip


@THOUSANDS
@given(text=st.text(max_size=40))
def test_any_unicode_text_gives_open_clips_tokens(oracle, tokenizer, text):
    assert tokenizer.encode(text) == oracle.encode(text)


@THOUSANDS
@given(text=st.lists(PIECES, max_size=8).map("".join))
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


def test_prompts_of_imagenet_give_open_clips_tokens(oracle, tokenizer):
    import open_clip

    names = [(name,) for name in open_clip.IMAGENET_CLASSNAMES[::5]]
    prompts = [p for row in expand(names, load_templates("imagenet80")) for p in row]

    assert len(prompts) == 200 * 80
    assert np.array_equal(tokenizer(prompts), oracle(prompts).numpy())


@pytest.mark.parametrize("length", [8, 16, 32, 64, 76, 77])
def test_truncation_equals_open_clips_at_any_context_length(oracle, length):
    text = "a very long sentence " * 30

    ours = ClipTokenizer(length)([text], truncate=True)

    assert np.array_equal(ours, oracle([text], context_length=length).numpy())


def test_a_text_that_just_fits_is_read_whole(tokenizer):
    tokens = tokenizer(["cat " * 75])

    assert tokens[0, -1] == 49407


def test_a_text_that_is_one_token_too_long_is_refused_with_the_count(tokenizer):
    with pytest.raises(TokenizeError, match="has 78 > 77 tokens"):
        tokenizer(["cat " * 76])


def test_a_refusal_says_which_text_it_is(tokenizer):
    with pytest.raises(TokenizeError) as caught:
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
    with pytest.raises(TokenizeError, match="special tokens"):
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
