"""Prompts as the paper's Table 3 has them, and token ids held against lm-eval's own cut."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.model import TemplateLM
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from isogloss.errors import IsoglossError
from isogloss.languages import language_table
from isogloss.latent.encoded_questions import encoded_questions
from isogloss.latent.prompts import Letters, continuation, encode_question, letter_tokens, load_template, render
from isogloss.models.loading import load_tokenizer
from isogloss.sources.parallel_questions import ParallelQuestion
from standin_latent import put, teach_letters
from standins import tiny_model

FAMILIES = ("gemma2", "llama", "qwen2", "gpt-neox")
ASKED = ParallelQuestion("q", "A long {passage}.", "Which one?", ["one", "two {2}", "three", "four"], 1, False)
TABLE_3 = """\
Given the following question and answer choices, output the letter corresponding to the correct answer.
A long {passage}.
Question: Which one?
A: one
B: two {2}
C: three
D: four
Answer:"""


class StockEncoding(TemplateLM):
    """lm-eval's own encoding of pairs over a tokenizer."""

    backend = "causal"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer: Any = tokenizer

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self.tokenizer.encode(string, add_special_tokens=add_special_tokens is not False)

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
        raise NotImplementedError

    loglikelihood_rolling = generate_until = _loglikelihood_tokens  # pyright: ignore[reportAssignmentType]


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """A BPE in SentencePiece's manner, as Gemma's and Llama 2's: a space is part of the next word, ▁."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # pyright: ignore[reportAttributeAccessIssue]
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([TABLE_3, *(f"Answer: {letter} Which: {letter}" for letter in "ABCD" * 9)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


@pytest.fixture(scope="module", params=[*FAMILIES, "metaspace"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """Gemma's and Llama's put BOS first by themselves, GPT-NeoX's and Qwen's do not, Qwen's has none of its own."""
    if request.param == "metaspace":
        return metaspace_tokenizer()
    folder = tiny_model(tmp_path_factory.mktemp(request.param), family=request.param, layers=1)
    return load_tokenizer(teach_letters(folder))


def test_letters_are_the_papers_table_3_each_item_on_a_line():
    assert render(load_template("belebele", "letters", "en"), ASKED) == TABLE_3
    without = "\n".join(line for line in TABLE_3.splitlines() if "passage" not in line)
    assert render(load_template("mmmlu", "letters", "en"), ASKED._replace(passage=None)) == without
    assert render(load_template("hellaswag", "letters", "en"), ASKED) == without


def test_a_cloze_has_no_instruction_and_no_choices_whatever_the_language():
    for lang in ("en", "hi", "yo"):
        assert render(load_template("mmmlu", "cloze", lang), ASKED._replace(passage=None)) == "Which one?"
        assert render(load_template("belebele", "cloze", lang), ASKED) == "A long {passage}.\nWhich one?"
        assert render(load_template("hellaswag", "cloze", lang), ASKED) == "A long {passage}.: Which one?"


@pytest.mark.parametrize("lang", [code for code, _ in zip(language_table(), range(11), strict=False)])
def test_each_of_the_first_eleven_languages_has_an_instruction_of_its_own(lang: str):
    template = load_template("belebele", "letters", lang)
    assert set(template.words) == {"instruction", "question", "answer"}
    prompt = render(template, ASKED)
    assert prompt == prompt.strip()
    assert len(prompt.split("\n")) == len(TABLE_3.split("\n"))
    assert prompt.split("\n")[3:7] == TABLE_3.split("\n")[3:7]
    if lang != "en":
        assert not set(template.words.values()) & set(load_template("belebele", "letters", "en").words.values())


def test_a_language_without_an_instruction_is_one_line_that_says_where_to_add_it():
    with pytest.raises(
        IsoglossError, match=r"resources/prompts\.yaml: no instruction in yo, there are en, zh, .*add it"
    ):
        load_template("belebele", "letters", "yo")


@pytest.mark.parametrize("lang", ["en", "hi", "zh", "ar"])
@pytest.mark.parametrize("end", ["", "  ", "\n", ":"])
def test_ids_are_those_of_lm_eval(tokenizer: PreTrainedTokenizerBase, lang: str, end: str):
    stock = StockEncoding(tokenizer)
    question = put(lang, 3)
    prompt = f"{question.passage} {question.text}{end}"
    continuations = [continuation(choice) for choice in question.choices]
    start, rest = encode_question(tokenizer, prompt, continuations)
    for text, ids in zip(continuations, rest, strict=True):
        assert (start, ids) == stock._encode_pair(prompt, text)


def test_a_merge_over_the_boundary_is_cut_where_lm_eval_cuts_it(tokenizer: PreTrainedTokenizerBase):
    _, (ids,) = encode_question(tokenizer, "The currency of Aust", ["ria is Euro"])
    assert ids == StockEncoding(tokenizer)._encode_pair("The currency of Aust", "ria is Euro")[1]


def test_without_a_space_a_text_keeps_all_of_its_tokens(tokenizer: PreTrainedTokenizerBase):
    """`ria` would be lost in a token that reaches over the boundary; a text after a space is cut as ever."""
    prompt, text = "The currency of Aust", "ria is Euro"
    start, (apart, spaced) = encode_question(tokenizer, prompt, [text, " euro"], unspaced=True)
    (cut,) = encode_question(tokenizer, prompt, [text])[1]
    assert (start, [spaced]) == encode_question(tokenizer, prompt, [" euro"])
    merged = [*start, *cut] != tokenizer(prompt + text)["input_ids"]
    assert apart == (tokenizer(text, add_special_tokens=False)["input_ids"] if merged else cut)


def test_an_answer_begins_as_its_script_parts_words(tokenizer: PreTrainedTokenizerBase):
    own = ParallelQuestion("q", None, "什么?", ["房子", "河"], 0, False)
    reference = own._replace(text="What?", choices=["a", "b"])
    template, stock = load_template("hellaswag", "cloze", "zh"), StockEncoding(tokenizer)
    for spaces in ((" ", " "), ("", " ")):
        (made,) = encoded_questions(tokenizer, template, [own], [reference], spaces=spaces, lettered=False)
        answers = [f"{spaces[0]}房子", f"{spaces[0]}河", " a", " b"]
        for answer, ids in zip(answers, [*made.native, *made.reference], strict=True):
            assert (made.prompt, ids) == stock._encode_pair(render(template, own), answer)


def test_a_choice_of_which_no_token_is_left_is_one_line(tokenizer: PreTrainedTokenizerBase):
    with pytest.raises(IsoglossError, match=r"no token is left for the choice '' after a prompt that ends 'Answer:'"):
        encode_question(tokenizer, "Answer:", [""])


@pytest.mark.parametrize("lang", ["en", "zh", "hi"])
def test_letters_are_the_token_with_its_space_and_the_token_without(tokenizer: PreTrainedTokenizerBase, lang: str):
    prompt = render(load_template("belebele", "letters", lang), ASKED)
    letters = letter_tokens(tokenizer, prompt, 4)
    assert tokenizer.convert_ids_to_tokens(letters.spaced) in (["ĠA", "ĠB", "ĠC", "ĠD"], ["▁A", "▁B", "▁C", "▁D"])
    assert tokenizer.convert_ids_to_tokens(letters.bare or []) == ["A", "B", "C", "D"]
    assert letter_tokens(tokenizer, prompt, 2) == Letters(letters.spaced[:2], (letters.bare or [])[:2])
    assert [[token] for token in letters.spaced] == encode_question(tokenizer, prompt, [" A", " B", " C", " D"])[1]


def test_letters_that_are_no_single_tokens_are_refused_or_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = load_tokenizer(tiny_model(tmp_path / "lm", family="gemma2", layers=1))
    with pytest.raises(
        IsoglossError, match=r"no single token for ' A' to ' D' after .*\['Ġ', 'A'\].*use the prompt cloze"
    ):
        letter_tokens(plain, "Answer:", 4)
    taught = load_tokenizer(teach_letters(tmp_path / "lm"))
    taught.add_tokens([":A"])  # merges with the colon: no bare letter after it
    letters = letter_tokens(taught, "Answer:", 4)
    assert letters.bare is None
    assert len(set(letters.spaced)) == 4
