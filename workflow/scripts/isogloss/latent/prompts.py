"""Prompts of multiple-choice questions (paper B, Table 3), and their token ids as lm-eval would cut them."""

from collections.abc import Sequence
from functools import cache
from string import ascii_uppercase
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from isogloss.config.latent import read_prompts
from isogloss.errors import IsoglossError
from isogloss.models.tokenization import prompt_ids, token_ids
from isogloss.resources import RESOURCES
from isogloss.sources.parallel_questions import ParallelQuestion

PROMPTS = RESOURCES / "prompts.yaml"
LETTERS = ascii_uppercase


class Template(NamedTuple):
    """How a question of one layout is put."""

    layout: str  # with {instruction}, {passage}, {question}, {text}, {choices}, each on a line, and {answer}
    words: dict[str, str]  # instruction, question and answer in the language of the instruction; none in cloze


class Letters(NamedTuple):
    """The tokens that the letters of the choices are at the end of a prompt."""

    spaced: list[int]  # of " A", " B", ...
    bare: list[int] | None  # of "A", "B", ...; None where these are not one distinct token each


def load_template(layout: str, prompt: str, lang: str) -> Template:
    """The template of questions (belebele, mmmlu, hellaswag, lm_eval) for `prompt` (letters, cloze), words in `lang`.

    A cloze prompt has no instruction, so it is the same in every `lang`. Raises `IsoglossError` for a
    language without an instruction.
    """
    resource = _resource()
    pattern = resource["layouts"][prompt][layout]
    if prompt == "cloze":
        return Template(pattern, {})
    if lang not in resource["words"]:
        raise IsoglossError(
            f"resources/prompts.yaml: no instruction in {lang}, there are"
            f" {', '.join(resource['words'])}; add it there, or set latent.instruction to reference"
        )
    return Template(pattern, resource["words"][lang])


@cache
def _resource() -> dict[str, Any]:
    return read_prompts(PROMPTS)


def render(template: Template, question: ParallelQuestion) -> str:
    """The prompt, without a space at its end."""
    choices = "\n".join(f"{letter}: {choice}" for letter, choice in zip(LETTERS, question.choices, strict=False))
    return template.layout.format(
        **template.words, choices=choices, passage=question.passage or "", text=question.text
    ).rstrip()


def continuation(text: str, space: str = " ") -> str:
    """What follows a prompt when `text` answers it: what parts words in its script (`languages.word_spacing`), it."""
    return f"{space}{text}"


def encode_question(
    tokenizer: PreTrainedTokenizerBase, prompt: str, continuations: Sequence[str], *, unspaced: bool = False
) -> tuple[list[int], list[list[int]]]:
    """Token ids of `prompt` and of each continuation: what both together have after as many tokens as the prompt.

    BOS is first where the tokenizer puts it by itself (Gemma's and Llama's do, Qwen's does not), as in lm-eval, whose
    cut this is too (`TemplateLM._encode_pair`): spaces at the end of the prompt go to the continuations. Where no space
    parts the two (`unspaced`) a token may reach over the boundary, and a part of the text would be lost in the cut: a
    text that it does so for is encoded by itself. Raises `IsoglossError` for a continuation without any token of its
    own.
    """
    start, rest = _cut(tokenizer, prompt, continuations)
    for number, text in enumerate(continuations):
        if unspaced and text[:1].strip() and _joined(tokenizer, prompt, text):
            rest[number] = token_ids(tokenizer, [text])[0]
        if not rest[number]:
            raise IsoglossError(f"no token is left for the choice {text!r} after a prompt that ends {prompt[-60:]!r}")
    return start, rest


def _joined(tokenizer: PreTrainedTokenizerBase, prompt: str, text: str) -> bool:
    """Whether the prompt's tokens are others once `text` follows."""
    whole, alone = token_ids(tokenizer, [prompt + text, prompt.rstrip()])
    return whole[: len(alone)] != alone


def letter_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str, count: int) -> Letters:
    """The tokens of the first `count` letters as the next token after `prompt`, with a space before and without.

    Raises `IsoglossError` where a letter with its space is more than one token: no next token stands for it; and for
    more choices than letters.
    """
    if count > len(LETTERS):
        raise IsoglossError(f"{count} choices are more than there are letters; use the prompt cloze")
    letters = LETTERS[:count]
    _, spaced = _cut(tokenizer, prompt, [continuation(letter) for letter in letters])
    _, bare = _cut(tokenizer, prompt, letters)
    if not _single(spaced):
        shown = tokenizer.convert_ids_to_tokens(spaced[0])
        raise IsoglossError(
            f"the tokenizer has no single token for ' {letters[0]}' to ' {letters[-1]}' after {prompt[-20:]!r}"
            f" (' {letters[0]}' is {shown}), so choices cannot be ranked by their letters; use the prompt cloze"
        )
    return Letters([ids[0] for ids in spaced], [ids[0] for ids in bare] if _single(bare) else None)


def _single(ids: Sequence[Sequence[int]]) -> bool:
    return all(len(letter) == 1 for letter in ids) and len({letter[0] for letter in ids}) == len(ids)


def _cut(
    tokenizer: PreTrainedTokenizerBase, prompt: str, continuations: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    kept = prompt.rstrip()
    texts = [kept, *(prompt + text for text in continuations)]
    start, *whole = token_ids(tokenizer, texts)
    first = prompt_ids(tokenizer, kept)[:1]
    bos = first if first == [tokenizer.bos_token_id] else []
    return [*bos, *start], [ids[len(start) :] for ids in whole]
