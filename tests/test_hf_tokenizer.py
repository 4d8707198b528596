"""Tokenizers of Hugging Face's kind give open_clip's tokens, apart from what they refuse.

The vocabularies are small ones, trained here in the way of the real ones and saved by transformers.
"""

from __future__ import annotations

import functools
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from loopback_hub import Repository

from zsclip import hf_tokenizer
from zsclip.cache import TextCache
from zsclip.data_files import open_clip_folder
from zsclip.datasets import load_dataset
from zsclip.encoders import Model
from zsclip.engines.fake import FakeEngine
from zsclip.errors import LabelError, ModelError, NotFetchedError, TextError, ZsclipWarning
from zsclip.head_builder import build_head
from zsclip.loading import load_model
from zsclip.models import ModelConfig, ModelSource, Preprocess, config_of_architecture
from zsclip.prompts import load_templates
from zsclip.weights import LocalModel

LONG = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
MANY = [
    "ein Foto einer großen Katze",
    "фото большого кота",
    "大きな猫の写真",
    "une élève là-bas",
    "한국",
]

# what open_clip's `hf_tokenizer_name` says -> the kind of tokenizer that is there
KINDS = {
    "timm/ViT-B-16-SigLIP": "siglip",
    "timm/ViT-B-16-SigLIP-i18n-256": "siglip",
    "bert-base-uncased": "bert",
    "facebook/xlm-v-base": "xlmr",
    "xlm-roberta-base": "xlmr",
    "xlm-roberta-large": "xlmr",
    "roberta-base": "roberta",
    "google/mt5-base": "mt5",
    "google/mt5-xl": "mt5",
    "facebook/nllb-200-distilled-600M": "nllb",
    "facebook/nllb-200-distilled-1.3B": "nllb",
}


def kind_of(name: str) -> str:
    return "siglip2" if "SigLIP2" in name else KINDS[name]


def combinations() -> list[tuple[str, int, str]]:
    """(kind, context length, options) of all of open_clip's architectures, each once."""
    found = set()
    for path in sorted((open_clip_folder() / "model_configs").glob("*.json")):
        text_cfg = json.loads(path.read_text())["text_cfg"]
        if name := text_cfg.get("hf_tokenizer_name"):
            assert "tokenizer_mode" not in text_cfg
            options = json.dumps(text_cfg.get("tokenizer_kwargs") or {})
            found.add((kind_of(name), text_cfg.get("context_length", 77), options))
    return sorted(found)


# vocabularies


def corpus() -> list[str]:
    names = [name for row in load_dataset("cifar100").class_names for name in row]
    templates = load_templates("imagenet80").templates
    return [template.replace("{}", name) for template in templates for name in names[::9]] + MANY


def sentencepiece_model(kind: str, size: int, **options: object) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=model,
        model_type=kind,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


FAIRSEQ = {"bos_id": 1, "eos_id": 2, "unk_id": 0, "pad_id": -1}
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}


def write_raw(kind: str, folder: Path) -> None:
    """The files from which a tokenizer of this kind was once made."""
    from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer

    folder.mkdir(parents=True)
    if kind == "siglip":
        (folder / "spiece.model").write_bytes(sentencepiece_model("unigram", 400, **T5))
        says = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "pad_token": "</s>"}
    elif kind == "mt5":
        (folder / "spiece.model").write_bytes(sentencepiece_model("unigram", 420, **T5))
        says = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    elif kind == "xlmr":
        model = sentencepiece_model("unigram", 440, **FAIRSEQ)
        (folder / "sentencepiece.bpe.model").write_bytes(model)
        says = {"tokenizer_class": "XLMRobertaTokenizer"}
    elif kind == "nllb":
        model = sentencepiece_model("bpe", 460, **FAIRSEQ)
        (folder / "sentencepiece.bpe.model").write_bytes(model)
        languages = ["ace_Arab", "eng_Latn", "fra_Latn"]
        says = {"tokenizer_class": "NllbTokenizer", "additional_special_tokens": languages}
    elif kind == "bert":
        words = BertWordPieceTokenizer(lowercase=True)
        words.train_from_iterator(corpus(), vocab_size=500, show_progress=False)
        words.save_model(str(folder))
        says = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    elif kind == "roberta":
        names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        pieces = ByteLevelBPETokenizer()
        pieces.train_from_iterator(corpus(), 500, special_tokens=names, show_progress=False)
        pieces.save_model(str(folder))
        says = {"tokenizer_class": "RobertaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(says))


def write_gemma(folder: Path) -> None:
    """SigLIP 2's tokenizer.json, part by part as in Gemma's: BPE with a byte for what it lacks."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer

    names = ["<pad>", "<eos>", "<bos>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    octets = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = BpeTrainer(vocab_size=900, special_tokens=names + octets, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    content = json.loads(tokenizer.to_str())  # bytes are ordinary tokens there
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] in names]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in ("▁▁", "<unused0>")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    says = {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": False,
        "add_eos_token": True,
        "padding_side": "right",
        **{f"{name[1:-1]}_token": name for name in names},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(says))


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """The folder of a kind of tokenizer, made once, with what transformers saves."""
    from transformers import AutoTokenizer

    root = tmp_path_factory.mktemp("tokenizers")

    @functools.cache
    def make(kind: str) -> Path:
        if kind == "siglip2":
            write_gemma(root / kind)
            return root / kind
        write_raw(kind, root / "raw" / kind)
        if kind == "mt5":  # the hub has its SentencePiece model only
            return root / "raw" / kind
        AutoTokenizer.from_pretrained(root / "raw" / kind).save_pretrained(root / kind)
        assert (root / kind / "tokenizer.json").is_file()
        return root / kind

    return make


def changed(folder: Path, target: Path, **says: object) -> Path:
    """A copy of a folder whose tokenizer_config.json says something else (None: nothing)."""
    shutil.copytree(folder, target)
    path = target / "tokenizer_config.json"
    content = json.loads(path.read_text()) | says
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return target


# both sides


def local_model(folder: Path, length: int = 77, options: dict | None = None, mode=None):
    text_cfg = {"hf_tokenizer_name": "acme/words", "tokenizer_kwargs": options or {}}
    text_cfg |= {"tokenizer_mode": mode} if mode else {}
    config = ModelConfig("small", {"text_cfg": text_cfg}, Preprocess(), length, "acme/words")
    return LocalModel(ModelSource("small", folder=folder), config, folder / "none", "f" * 64)


def ours(folder: Path, length: int = 77, options: dict | None = None, mode=None):
    return hf_tokenizer.load(local_model(folder, length, options, mode))


def theirs(folder: Path, length: int = 77, options: dict | None = None, mode=None):
    from open_clip.tokenizer import HFTokenizer

    known = HFTokenizer(str(folder), context_length=length, tokenizer_mode=mode, **(options or {}))
    return lambda texts: known(texts).numpy()


@pytest.fixture(scope="module")
def pair_of(folder_of):
    """(our tokenizer, open_clip's) for a combination, made once."""

    @functools.cache
    def make(kind: str, length: int, options: str):
        arguments = (folder_of(kind), length, json.loads(options))
        return ours(*arguments), theirs(*arguments)

    return make


PIECES = st.sampled_from(
    [
        "&amp;", "&lt;b&gt;", "&#x1F600;", "&nbsp;", "&", "👍🏽", "👩‍👩‍👧", "🇫🇷", "❤️", "é",
        "e\u0301", "ß", "İ", "ﬁ", "Ⅷ", "½", "¨", "٣", "猫", "ไทย", "한", "кот", "größe",
        "Ã©", "â€™", "ſ", "it's", "I'LL", "don’t", "_", "__", "▁", "▁▁", "<", ">",
        "<0x41>", "{}", "\\", "##ing", "[",
        "\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "\x9b", "\u200b", "\u200d", "\ufeff", "\u2028",
        "\u3000", "\t", "\r\n", " ", "\xa0", "A", "Zebra", "2024", "3.14", "C++", "#1", "cat",
        " a photo of a ", " apple", " snow leopard",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(PIECES, max_size=9).map("".join),
    st.lists(PIECES, max_size=90).map(" ".join),
)


@pytest.mark.parametrize("combination", combinations(), ids=lambda c: f"{c[0]}-{c[1]}-{c[2]}")
@LONG
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
@example(texts=[""])
@example(texts=["cat " * 200, "a cat", "猫" * 200])
@example(texts=["cat\u200b", "\ufeffcat", "a \u200b cat", "cat\u00a0", "\u00a8cat"])
def test_any_text_gives_open_clips_tokens(pair_of, combination, texts):
    tokenizer, oracle = pair_of(*combination)

    tokens = tokenizer(texts, truncate=True)

    assert tokens.dtype == np.int64
    assert np.array_equal(tokens, oracle(texts))


def test_the_combinations_are_those_of_open_clips_architectures():
    assert [(kind, length, options) for kind, length, options in combinations()] == [
        ("bert", 32, '{"strip_sep_token": true}'),
        ("mt5", 77, '{"clean": "canonicalize"}'),
        ("mt5", 77, "{}"),
        ("nllb", 77, "{}"),
        ("roberta", 77, "{}"),
        ("siglip", 16, '{"clean": "canonicalize"}'),
        ("siglip", 64, '{"clean": "canonicalize"}'),
        ("siglip2", 64, '{"clean": "canonicalize"}'),
        ("xlmr", 77, "{}"),
    ]


def test_a_sentencepiece_model_is_read_as_sentencepiece_reads_it(folder_of):
    import sentencepiece

    folder = folder_of("mt5")
    reference = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model"))
    texts = corpus()[::25] + MANY

    tokens = ours(folder)(texts)

    for row, text in zip(tokens, texts, strict=True):
        expected = [*reference.encode(text), 1]
        assert row.tolist() == expected + [0] * (77 - len(expected))


# what the files say


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("siglip", {"padding_side": "left"}),
        ("siglip", {"truncation_side": "left"}),
        ("bert", {"padding_side": "left", "truncation_side": "left"}),
        ("siglip2", {"padding_side": None}),
        ("siglip2", {"pad_token": "<eos>"}),
        ("nllb", {"src_lang": "fra_Latn"}),
        ("nllb", {"legacy_behaviour": True}),
        ("xlmr", {"pad_token": None}),
        ("bert", {"pad_token": None, "sep_token": None, "cls_token": None, "unk_token": None}),
    ],
    ids=str,
)
def test_settings_are_followed_as_open_clip_does(folder_of, tmp_path, kind, says):
    folder = changed(folder_of(kind), tmp_path / "changed", **says)
    options = {"strip_sep_token": True} if kind == "bert" else {}
    texts = ["", "a photo of a cat", "a photo of a snow leopard " * 9, "猫"]

    tokens = ours(folder, 24, options)(texts, truncate=True)

    assert np.array_equal(tokens, theirs(folder, 24, options)(texts))


def test_names_in_a_file_of_their_own_are_followed(folder_of, tmp_path):
    folder = changed(folder_of("siglip"), tmp_path / "changed", pad_token=None)
    (folder / "special_tokens_map.json").write_text('{"pad_token": {"content": "</s>"}}')

    tokens = ours(folder)(["a cat"])

    assert tokens[0, -1] == 1
    assert np.array_equal(tokens, theirs(folder)(["a cat"]))


def test_nllbs_language_stands_in_front_whatever_an_older_file_says(folder_of, tmp_path):
    folder = tmp_path / "older"
    shutil.copytree(folder_of("nllb"), folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    frame = content["post_processor"]
    frame["single"] = [frame["single"][1], frame["single"][2], frame["single"][0]]
    (folder / "tokenizer.json").write_text(json.dumps(content))

    tokens = ours(folder)(["a cat"])

    assert np.array_equal(tokens, theirs(folder)(["a cat"]))
    assert tokens[0, 0] > 400  # eng_Latn


@pytest.mark.parametrize("texts", [["", "a cat", "猫"], ["a photo of a cat " * 30]])
def test_the_mode_clips_puts_the_class_token_last(folder_of, tmp_path, texts):
    folder = changed(folder_of("bert"), tmp_path / "c", bos_token="[CLS]", eos_token="[SEP]")

    tokens = ours(folder, 32, {}, "clips")(texts, truncate=True)

    assert np.array_equal(tokens, theirs(folder, 32, {}, "clips")(texts))


def test_padding_and_truncation_in_the_file_give_way_to_the_models(folder_of, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(folder_of("xlmr"), folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["truncation"] = {
        "max_length": 5, "strategy": "LongestFirst", "stride": 0, "direction": "Right",
    }  # fmt: skip
    content["padding"] = {
        "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    texts = ["a photo of a snow leopard", "猫"]

    assert np.array_equal(ours(folder)(texts), theirs(folder)(texts))


# refused texts


@pytest.mark.parametrize("combination", combinations(), ids=lambda c: f"{c[0]}-{c[1]}-{c[2]}")
def test_a_text_that_is_too_long_is_refused_with_index_and_count(pair_of, combination):
    tokenizer, oracle = pair_of(*combination)
    length = combination[1]
    whole = next(n for n in range(99) if len(np.unique(oracle(["cat " * n])[0, -3:])) > 1)
    fits, over = "cat " * whole, "cat " * (whole + 3)

    tokens = tokenizer([fits])

    assert np.array_equal(tokens, oracle([fits]))
    with pytest.raises(TextError, match=rf"has \d+ > {length} tokens") as caught:
        tokenizer(["cat", over])
    assert caught.value.index == 1
    assert np.array_equal(tokenizer(["cat", over], truncate=True), oracle(["cat", over]))


def test_the_count_is_that_of_the_whole_text(folder_of):
    from transformers import AutoTokenizer

    text = "a photo of a snow leopard " * 9
    count = len(AutoTokenizer.from_pretrained(folder_of("xlmr"))(text.strip()).input_ids)

    with pytest.raises(TextError, match=rf"has {count} > 24 tokens"):
        ours(folder_of("xlmr"), 24)([text])
    assert ours(folder_of("xlmr"), count)([text]).shape == (1, count)
    with pytest.raises(TextError, match=rf"has {count} > {count - 1} tokens"):
        ours(folder_of("xlmr"), count - 1)([text])


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *[("siglip", name) for name in ("</s>", "<pad>", "<unk>")],
        *[("siglip2", name) for name in ("<eos>", "<bos>", "<pad>", "<unk>")],
        *[("xlmr", name) for name in ("<s>", "</s>", "<pad>", "<mask>", "<unk>")],
        *[("bert", name) for name in ("[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]")],
        *[("roberta", name) for name in ("<s>", "</s>", "<mask>", "<unk>")],
        *[("nllb", name) for name in ("eng_Latn", "fra_Latn", "</s>")],
        ("mt5", "</s>"),
    ],
)
def test_special_tokens_inside_a_text_are_refused(folder_of, kind, name, truncate):
    tokenizer = ours(folder_of(kind), 32)
    escaped = name.replace("<", "&lt;").replace(">", "&gt;")

    for text in (name, f"a {name} cat", f"a cat{name}", escaped, "cat " * 80 + name):
        with pytest.raises(TextError, match="special token") as caught:
            tokenizer(["a cat", text], truncate=truncate)
        assert caught.value.index == 1
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["a sep b", "< / s >", "[ SEP ]", "pad", "<pad", "eng Latn", "unk"]
)
@pytest.mark.parametrize("kind", ["siglip", "siglip2", "xlmr", "bert", "roberta", "nllb"])
def test_text_that_only_looks_like_a_special_token_is_read(folder_of, kind, text):
    folder = folder_of(kind)

    assert np.array_equal(ours(folder)([text]), theirs(folder)([text]))


def test_punctuation_of_special_tokens_goes_before_they_are_looked_for(pair_of):
    tokenizer, oracle = pair_of("siglip", 64, '{"clean": "canonicalize"}')

    assert np.array_equal(tokenizer(["a </s> cat"]), oracle(["a </s> cat"]))


def test_text_in_an_unknown_script_is_read(folder_of):
    folder = folder_of("bert")

    tokens = ours(folder)(["a 猫"])

    assert np.array_equal(tokens, theirs(folder)(["a 猫"]))


def test_no_texts_give_no_rows(folder_of):
    assert ours(folder_of("bert"), 32)([]).shape == (0, 32)


# refused models


@pytest.mark.parametrize(
    "options",
    [{"language": "fra_Latn"}, {"clean": "title"}, {"use_fast": False}, {"context_length": 9}],
    ids=str,
)
def test_options_that_would_not_be_followed_are_refused(folder_of, options):
    with pytest.raises(ModelError, match=f"{next(iter(options))!r}.* is not supported"):
        ours(folder_of("nllb"), 77, options)


def test_an_unknown_mode_is_refused(folder_of):
    with pytest.raises(ModelError, match="mode 'swirl' is not supported"):
        ours(folder_of("bert"), 32, {}, "swirl")


def test_an_unknown_language_is_refused(folder_of, tmp_path):
    folder = changed(folder_of("nllb"), tmp_path / "changed", src_lang="tlh_Latn")

    with pytest.raises(ModelError, match="knows no language 'tlh_Latn'"):
        ours(folder)


def test_a_token_that_is_needed_and_has_no_name_is_refused(folder_of, tmp_path):
    folder = changed(folder_of("roberta"), tmp_path / "changed", pad_token="<nothing>")

    with pytest.raises(ModelError, match="no pad_token"):
        ours(folder)


def test_without_the_package_tokenizers_the_extra_is_named(folder_of, monkeypatch):
    folder = folder_of("siglip")
    monkeypatch.setitem(sys.modules, "tokenizers", None)

    with pytest.raises(ModelError, match="needs tokenizers") as caught:
        ours(folder)
    assert caught.value.tip == "pip install 'zsclip[siglip]'"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("package", ["transformers", "sentencepiece"])
def test_without_transformers_a_sentencepiece_model_names_the_extra(
    folder_of, monkeypatch, package
):
    folder = folder_of("mt5")
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ModelError, match=r"has no tokenizer\.json, only spiece\.model") as caught:
        ours(folder)
    assert caught.value.tip == "pip install 'zsclip[hf]'"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *[("tokenizer.json", text) for text in ("", "{}", "[1]", '{"model": {"type": "Wish"}}')],
        *[("tokenizer_config.json", text) for text in ("", "[1]", "3", "\x00" * 99)],
    ],
)
def test_damaged_files_are_refused_in_one_line(folder_of, tmp_path, name, content):
    folder = tmp_path / "damaged"
    shutil.copytree(folder_of("bert"), folder)
    (folder / name).write_text(content)

    with pytest.raises(ModelError, match="not a tokenizer that can be read") as caught:
        ours(folder)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_damaged_sentencepiece_model_is_refused_in_one_line(folder_of, tmp_path, content):
    folder = tmp_path / "damaged"
    shutil.copytree(folder_of("mt5"), folder)
    (folder / "spiece.model").write_bytes(content)

    with pytest.raises(ModelError, match="not a tokenizer that can be read") as caught:
        ours(folder)
    assert "\n" not in caught.value.message


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        ours(tmp_path)


# from the hub


def on_hub(name: str = "acme/words", source: str | None = None, **local: object) -> LocalModel:
    config = config_of_architecture("ViT-B-16-SigLIP", "webli")
    config = ModelConfig("small", config.model_cfg, config.preprocess, 64, name)
    place = ModelSource("small", repo=source or "acme/weights")
    return LocalModel(place, config, Path("none"), "f" * 64, **local)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("kind", ["siglip", "siglip2", "mt5"])
def test_a_tokenizer_comes_from_the_hub_and_then_from_the_cache(loopback, folder_of, kind):
    files = files_in(folder_of(kind)) | {"config.json": b'{"model_type": "mt5"}'}
    loopback.repositories["acme/words"] = Repository(files)

    first = hf_tokenizer.load(on_hub())(["a photo of a cat"])
    loopback.requests.clear()
    second = hf_tokenizer.load(on_hub())(["a photo of a cat"])

    expected = ours(folder_of(kind), 64, {"clean": "canonicalize"})(["a photo of a cat"])
    assert np.array_equal(first, expected) and np.array_equal(second, expected)
    assert loopback.requests == []


def test_a_tokenizer_beside_the_weights_is_of_their_commit(loopback, folder_of):
    older = "0dd" + "1" * 37
    repository = Repository(files_in(folder_of("siglip2")))
    repository.others[older] = files_in(folder_of("siglip"))
    loopback.repositories["acme/words"] = repository

    beside = hf_tokenizer.load(on_hub(source="acme/words", revision=older))(["a cat"])
    elsewhere = hf_tokenizer.load(on_hub(revision=older))(["a cat"])

    assert beside[0, -1] == 1  # SigLIP's padding
    assert elsewhere[0, -1] == 0  # SigLIP 2's


def test_settings_are_not_guessed_where_only_the_vocabulary_is_cached(loopback, folder_of):
    files = files_in(folder_of("siglip"))
    loopback.repositories["acme/words"] = Repository(files)
    hf_tokenizer.hub.fetch("acme/words", "tokenizer.json")

    with pytest.raises(NotFetchedError, match=r"special_tokens_map\.json of hf-hub:acme/words"):
        hf_tokenizer.load(on_hub(offline=True))


def test_names_in_a_file_of_their_own_come_from_the_hub_too(loopback, folder_of, tmp_path):
    folder = changed(folder_of("siglip"), tmp_path / "changed", pad_token=None)
    (folder / "special_tokens_map.json").write_text('{"pad_token": {"content": "</s>"}}')
    loopback.repositories["acme/words"] = Repository(files_in(folder))

    tokens = hf_tokenizer.load(on_hub())(["a cat"])

    assert np.array_equal(tokens, ours(folder, 64, {"clean": "canonicalize"})(["a cat"]))
    assert tokens[0, -1] == 1


def test_a_sentencepiece_file_of_the_cache_does_not_win_over_the_tokenizer(loopback, folder_of):
    files = files_in(folder_of("siglip")) | {"spiece.model": b"of another program"}
    loopback.repositories["acme/words"] = Repository(files)
    hf_tokenizer.hub.fetch("acme/words", "spiece.model")

    assert hf_tokenizer.find(on_hub()).name == "tokenizer.json"


def test_offline_a_sentencepiece_file_of_the_cache_is_taken(loopback, folder_of):
    loopback.repositories["acme/words"] = Repository(files_in(folder_of("mt5")))
    found = hf_tokenizer.find(on_hub())
    loopback.requests.clear()

    assert hf_tokenizer.find(on_hub(offline=True)) == found and found.name == "spiece.model"
    assert loopback.requests == []


def test_a_tokenizer_whose_name_no_repository_can_have_is_refused(loopback):
    with pytest.raises(ModelError, match=r"can have the name 'acme/words\.git'"):
        hf_tokenizer.find(on_hub("acme/words.git"))


def test_offline_a_tokenizer_that_is_not_there_is_named(loopback):
    with pytest.raises(NotFetchedError, match="acme/words"):
        hf_tokenizer.load(on_hub(offline=True))
    assert loopback.requests == []


def test_a_repository_without_a_tokenizer_is_refused(loopback):
    loopback.repositories["acme/words"] = Repository({"config.json": b"{}"})

    with pytest.raises(ModelError, match=r"hf-hub:acme/words has no tokenizer\.json"):
        hf_tokenizer.load(on_hub())


# in a model


@pytest.fixture
def small_siglip(folder_of, tmp_path):
    """A folder with an open_clip configuration of SigLIP's kind and its tokenizer."""
    folder = tmp_path / "small-siglip"
    shutil.copytree(folder_of("siglip"), folder)
    text_cfg = {
        "context_length": 16,
        "vocab_size": 500,
        "hf_tokenizer_name": "acme/not-asked",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 16,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "pool_type": "last",
    }
    vision_cfg = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    model_cfg = {"embed_dim": 16, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    model_cfg |= {"custom_text": True, "init_logit_bias": -10}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))
    return folder


@pytest.fixture
def small_siglip_weights(small_siglip):
    import open_clip
    from safetensors.torch import save_file

    model = open_clip.create_model(f"local-dir:{small_siglip}", load_weights=False)
    save_file(dict(model.state_dict()), small_siglip / "open_clip_model.safetensors")
    return small_siglip


def test_a_model_in_a_folder_tokenizes_as_open_clip_does(small_siglip_weights):
    import open_clip

    model = load_model(str(small_siglip_weights), device="cpu")
    reference = open_clip.get_tokenizer(f"local-dir:{small_siglip_weights}")
    texts = ["A photo of a cat!", "snow_leopard", "猫"]

    assert np.array_equal(model.tokenize(texts), reference(texts).numpy())
    assert model.encode_text(texts).shape == (3, 16)


def fake_model(folder: Path, cache: TextCache) -> Model:
    from zsclip.models import config_of_folder

    local = LocalModel(
        ModelSource("small", folder=folder), config_of_folder(folder), folder / "none", "f" * 64
    )
    return Model(local, cache=cache, engine=FakeEngine(logit_scale=5.0))


def test_an_overlong_label_names_label_template_and_token_count(small_siglip, tmp_path):
    model = fake_model(small_siglip, TextCache(tmp_path / "cache"))
    label = "snow leopard " * 9

    with pytest.raises(LabelError) as caught:
        build_head(["cat", label], model=model, templates=["a photo of a {}."])

    assert re.fullmatch(
        r"labels\[1\]: label 'snow leopard .*' in template 'a photo of a {}\.' has \d+ > 16 tokens",
        caught.value.message,
    )


@pytest.mark.accepts("B13")
@pytest.mark.parametrize("label", ["!!!", "...", "_", "&nbsp;"])
def test_a_label_of_which_siglips_cleaning_leaves_nothing_is_refused(small_siglip, tmp_path, label):
    model = fake_model(small_siglip, TextCache(tmp_path / "cache"))

    with pytest.raises(LabelError, match=rf"^labels\[1\]: label {re.escape(repr(label))} is empty"):
        build_head(["cat", label], model=model, templates=["a photo of a {}."])


@pytest.mark.accepts("B2")
def test_labels_that_siglips_cleaning_makes_equal_are_warned_about(small_siglip, tmp_path):
    model = fake_model(small_siglip, TextCache(tmp_path / "cache"))

    with pytest.warns(
        ZsclipWarning, match=r"'T-shirt' \(labels\[0\]\) and 'tshirt!' \(labels\[2\]\)$"
    ):
        build_head(["T-shirt", "cat", "tshirt!"], model=model, templates=["a photo of a {}."])


def test_another_tokenizer_under_the_same_name_is_a_miss_in_the_cache(
    small_siglip, folder_of, tmp_path
):  # C8
    cache = TextCache(tmp_path / "cache")
    before = fake_model(small_siglip, cache)
    build_head(["cat", "dog"], model=before, templates=["{}"])
    calls = before.engine.text_calls
    shutil.copy(folder_of("siglip2") / "tokenizer.json", small_siglip)
    shutil.copy(folder_of("siglip2") / "tokenizer_config.json", small_siglip)

    after = fake_model(small_siglip, cache)
    build_head(["cat", "dog"], model=after, templates=["{}"])

    assert before.text_files_id != after.text_files_id
    assert calls == after.engine.text_calls == 3  # two labels and the probe


@pytest.mark.parametrize("name", ["special_tokens_map.json", "tokenizer_config.json"])
def test_every_file_that_changes_tokens_is_in_the_key(small_siglip, tmp_path, name):  # C8
    before = fake_model(small_siglip, TextCache(tmp_path / "cache")).text_files_id
    (small_siglip / name).write_text('{"pad_token": "<unk>"}')

    assert fake_model(small_siglip, TextCache(tmp_path / "cache")).text_files_id != before


def test_files_that_change_places_are_told_apart(small_siglip, tmp_path):  # C8
    one, other = small_siglip / "special_tokens_map.json", small_siglip / "tokenizer_config.json"
    other.unlink()
    one.write_text("{}")
    before = fake_model(small_siglip, TextCache(tmp_path / "cache")).text_files_id
    one.rename(other)

    assert fake_model(small_siglip, TextCache(tmp_path / "cache")).text_files_id != before


def test_the_configuration_of_a_text_tower_is_in_the_key(small_siglip, tmp_path):  # C8
    from zsclip.models import CONFIG_NAME

    (tmp_path / "tower").mkdir()
    (tmp_path / "tower/config.json").write_text('{"hidden_act": "gelu"}')
    config = json.loads((small_siglip / CONFIG_NAME).read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = str(tmp_path / "tower")
    (small_siglip / CONFIG_NAME).write_text(json.dumps(config))
    before = fake_model(small_siglip, TextCache(tmp_path / "cache")).text_files_id
    (tmp_path / "tower/config.json").write_text('{"hidden_act": "relu"}')

    assert fake_model(small_siglip, TextCache(tmp_path / "cache")).text_files_id != before


def test_tokenizing_loads_neither_torch_nor_transformers(small_siglip_weights, tmp_path):
    script = (
        "import sys, zsclip\n"
        f"zsclip.load_model({str(small_siglip_weights)!r}).tokenize(['a cat'])\n"
        "print(*{'torch', 'open_clip', 'transformers', 'tokenizers'} & set(sys.modules))\n"
    )

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert ran.stdout.split() == ["tokenizers"], ran.stderr
