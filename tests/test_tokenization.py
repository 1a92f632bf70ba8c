import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertTokenizer, PreTrainedTokenizerFast

import isogloss
from isogloss.errors import IsoglossError
from isogloss.latent.prompts import encode_question
from isogloss.models.batching import encode_texts
from isogloss.models.loading import load_tokenizer
from isogloss.models.tokenization import control_ids, prompt_ids, token_ids, token_spans
from isogloss.text.tokenise import first_tokens
from standins import tiny_tokenizer

MARKS = ["<pad>", "<eos>", "<bos>", "<|endoftext|>", "<|im_start|>user", "</s>", "<s>", "[INST]", "a<bos>b <eos>"]

OTHER = re.compile(r"def .*|\w+_tokenizer\(|tokenizer\(s\)")


def unigram() -> PreTrainedTokenizerFast:
    """A Unigram model as XGLM's is: its control tokens are pieces that text can be cut into."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    control = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=control, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat <s/> unk pad >"] * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def slow(folder: Path) -> BertTokenizer:
    """A tokenizer in Python alone would be the same; BERT's has words, and control tokens that are such."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##b", "[", "]", "cls", "##cls"]
    (folder / "vocab.txt").write_text("\n".join(words))
    return BertTokenizer(str(folder / "vocab.txt"), bos_token="[CLS]")


@pytest.mark.parametrize("text", [*MARKS, "[CLS]", "a [SEP] b"])
@pytest.mark.parametrize("kind", ["bpe", "unigram", "bert", "chat"])
def test_no_control_token_comes_of_a_text(tmp_path: Path, kind: str, text: str):
    makers = {"bpe": tiny_tokenizer, "unigram": unigram, "bert": lambda: slow(tmp_path), "chat": tiny_tokenizer}
    tokenizer = makers[kind]()
    if kind == "chat":
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|endoftext|>", "[INST]"]})
    (ids,) = token_ids(tokenizer, [text])
    assert ids
    assert control_ids(tokenizer).isdisjoint(ids)
    if kind in ("bpe", "chat"):
        assert tokenizer.decode(ids) == text


def test_every_way_to_encode_a_text_is_this_one(lm_folder: Path):
    tokenizer = load_tokenizer(lm_folder)
    bos, text = tokenizer.bos_token_id, "<bos>a<eos> b"
    (own,) = token_ids(tokenizer, [text])
    assert encode_texts(tokenizer, [text]) == [[bos, *own]]
    assert first_tokens(tokenizer, [text], 100) == [[bos, *own]]
    assert prompt_ids(tokenizer, text) == [bos, *own]
    start, (answer,) = encode_question(tokenizer, text, [" <eos>"])
    assert [start, answer] == [[bos, *own], token_ids(tokenizer, [" <eos>"])[0]]
    ids, spans = token_spans(tokenizer, text)
    assert ids == own
    assert "".join(text[start:stop] for start, stop in spans) == text


def test_no_module_calls_a_tokenizer_by_itself():
    package = Path(isogloss.__file__).parent
    allowed = {"models/tokenization.py"}
    calls = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(
            r"tokenizer(\.encode|\.tokenize|\.batch_encode_plus)?\(",
            re.sub(r"def .*|\w+_tokenizer\(", "", path.read_text()),
        )
    }
    assert calls == allowed


def test_spans_of_spelt_out_tokens_are_their_characters():
    tokenizer = unigram()
    ids, spans = token_spans(tokenizer, "the </s>")
    assert len(ids) == len(spans)
    assert control_ids(tokenizer).isdisjoint(ids)
    assert spans[-4:].tolist() == [[4, 5], [5, 6], [6, 7], [7, 8]]


def test_runs_of_spaces_that_are_added_tokens_stay_whole():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["        "])
    (ids,) = token_ids(tokenizer, ["a        b"])
    assert tokenizer.convert_tokens_to_ids("        ") in ids


def test_half_a_surrogate_pair_is_named(lm_folder: Path):
    with pytest.raises(IsoglossError, match=r"U\+D83D is half a surrogate pair.*mend"):
        token_ids(load_tokenizer(lm_folder), ["fine", "a\ud83d"])
