"""A byte-level BPE tokenizer trained on the documents of all languages alike."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from isogloss.errors import IsoglossError
from isogloss.sources.world.corpus import read_texts
from isogloss.tables import atomic_path

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>"]  # ids 0 to 3, as in Gemma
# GPT-2's own pattern tears Indic words at every vowel sign (a mark, no letter); U+200C and U+200D join letters.
WORDS = r" ?[\p{L}\p{M}\p{N}\x{200C}\x{200D}]+| ?[^\s\p{L}\p{M}\p{N}\x{200C}\x{200D}]+|\s+(?!\S)|\s+"


def train_tokenizer(*, documents: Mapping[str, str], vocabulary: int, context: int, output: str) -> None:
    """Train on `documents` (table of documents by language) and save a Hugging Face fast tokenizer.

    Every language gives as many documents as the one that has fewest, whatever share of the training tokens a model
    gives it: models of other shares then read the same tokens. As Gemma's, the tokenizer prepends BOS when special
    tokens are asked for.

    Raises `IsoglossError` for an empty corpus, and if there is too little text for the vocabulary.
    """
    texts = {language: read_texts(path, language) for language, path in documents.items()}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_mixed(texts), trainer)
    if tokenizer.get_vocab_size() < vocabulary:
        raise IsoglossError(
            f"architecture.vocabulary: the documents give only {tokenizer.get_vocab_size()} of {vocabulary} entries;"
            " lower it, or give the world more facts"
        )
    bos = SPECIAL_TOKENS.index("<bos>")
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", bos)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    with atomic_path(Path(output)) as folder:
        fast.save_pretrained(folder)
    for language, rows in texts.items():
        lengths = [len(ids) for ids in fast(rows)["input_ids"]]  # pyright: ignore[reportArgumentType]
        logger.info("%s: %.1f tokens a document, the longest %d", language, sum(lengths) / len(lengths), max(lengths))


def _mixed(texts: Mapping[str, list[str]]) -> Iterator[str]:
    fewest = min(map(len, texts.values()))
    for rows in texts.values():
        yield from rows[:fewest]
