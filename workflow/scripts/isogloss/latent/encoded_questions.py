"""Parallel questions as a model reads them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from isogloss.latent.prompts import Template, continuation, encode_question, letter_tokens, render
from isogloss.sources.parallel_questions import ParallelQuestion


class EncodedQuestion(NamedTuple):
    """A question as token ids."""

    own: ParallelQuestion  # in the prompt's language
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


def encoded_questions(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    own: Sequence[ParallelQuestion],
    reference: Sequence[ParallelQuestion],
    *,
    spaces: tuple[str, str] = (" ", " "),
    lettered: bool,
    held_out: bool = True,
) -> Iterator[EncodedQuestion]:
    """The questions of a language, `own`, with those of the reference language; without `held_out` only the others.

    `spaces` stand before an answer in the language and before one in the reference language (`word_spacing`).

    One object of questions for both is the reference language itself. Raises `ValueError` if they are not in the
    same order.
    """
    for question, counterpart in zip(own, reference, strict=True):
        if question.question != counterpart.question:
            raise ValueError(f"questions are not in the same order: {question.question} beside {counterpart.question}")
        if held_out or not question.held_out:
            yield _encode(tokenizer, template, question, counterpart, spaces, lettered=lettered)


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    question: ParallelQuestion,
    counterpart: ParallelQuestion,
    spaces: tuple[str, str],
    *,
    lettered: bool,
) -> EncodedQuestion:
    text = render(template, question)
    same, count = question is counterpart, len(question.choices)
    answers = [continuation(choice, spaces[0]) for choice in question.choices]
    if not same:
        answers += [continuation(choice, spaces[1]) for choice in counterpart.choices]
    prompt, ids = encode_question(tokenizer, text, answers, unspaced="" in spaces)
    native = ids[:count]
    letters = letter_tokens(tokenizer, text, count) if lettered else None
    return EncodedQuestion(
        question,
        counterpart,
        prompt,
        native,
        native if same else ids[count:],
        list(letters.spaced) if letters else [],
        list((letters and letters.bare) or []),
    )
