"""Parallel questions as a model reads them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from isogloss.latent.prompts import Template, continuation, encode_question, letter_tokens, render
from isogloss.sources.parallel_questions import ParallelQuestion


class Asked(NamedTuple):
    """A question as token ids."""

    question: ParallelQuestion
    counterpart: ParallelQuestion  # the same in the reference language
    prompt: list[int]
    native: list[list[int]]  # the choices' texts in the prompt's language
    reference: list[list[int]]  # and in the reference language; of the reference language itself the same
    letters: list[int]  # A, B, .. after a space; none if the prompt has no letters
    bare: list[int]  # without one; none where they are not single tokens

    @property
    def length(self) -> int:
        """Tokens that the model reads; the last of a choice is only predicted."""
        return len(self.prompt) + max(map(len, [*self.native, *self.reference])) - 1


def ask(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    own: Sequence[ParallelQuestion],
    theirs: Sequence[ParallelQuestion],
    *,
    lettered: bool,
    held_out: bool = True,
) -> Iterator[Asked]:
    """The questions of a language, `own`, with `theirs`, those of the reference; without `held_out` only the others.

    One object of questions for both is the reference language itself. Raises `ValueError` if they are not in the
    same order.
    """
    for mine, its in zip(own, theirs, strict=True):
        if mine.question != its.question:
            raise ValueError(f"questions are not in the same order: {mine.question} beside {its.question}")
        if held_out or not mine.held_out:
            yield _encode(tokenizer, template, mine, its, lettered=lettered)


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    mine: ParallelQuestion,
    its: ParallelQuestion,
    *,
    lettered: bool,
) -> Asked:
    text = render(template, mine)
    same = mine is its
    texts = [continuation(choice) for choice in (mine.choices if same else [*mine.choices, *its.choices])]
    prompt, ids = encode_question(tokenizer, text, texts)
    native = ids[: len(mine.choices)]
    letters = letter_tokens(tokenizer, text, len(mine.choices)) if lettered else None
    return Asked(
        mine,
        its,
        prompt,
        native,
        native if same else ids[len(mine.choices) :],
        list(letters.spaced) if letters else [],
        list((letters and letters.bare) or []),
    )
