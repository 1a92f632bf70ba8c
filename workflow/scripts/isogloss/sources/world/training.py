"""Stage `train_toy`: a small Gemma-2 whose languages' shares of the training tokens are known."""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import transformers
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm
from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerBase

from isogloss.config.toy import Architecture, Training
from isogloss.errors import IsoglossError
from isogloss.models.batching import Batch, collate, encode_texts
from isogloss.resume import TrainingState, digest_of
from isogloss.sources.world.schedule import Draw, pair_name, plan_training

if TYPE_CHECKING:
    import polars

logger = logging.getLogger(__name__)

CLIP = 1.0  # norm that gradients are clipped to
WEIGHT_DECAY = 0.1


class Document(NamedTuple):
    """A document as the model reads it."""

    ids: list[int]  # BOS first, EOS last
    tokens: dict[str, int]  # how many of them are of which language


Corpus = dict[str, list[Document]]  # by source: a language, or two (`schedule.pair_name`)


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then a cosine down to zero; `step` counts from 1."""
    if step <= warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup + 1)))


def gemma2_config(architecture: Architecture) -> Gemma2Config:
    """Transformers' configuration of `architecture`.

    Without Gemma 2's cap on the logits of the head, which costs a third of a training step; attention has its own.
    """
    return Gemma2Config(
        vocab_size=architecture.vocabulary,
        hidden_size=architecture.d_model,
        intermediate_size=architecture.d_mlp,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.key_value_heads,
        head_dim=architecture.d_head,
        query_pre_attn_scalar=architecture.d_head,
        max_position_embeddings=architecture.context,
        sliding_window=architecture.sliding_window,
        final_logit_softcapping=None,
        initializer_range=architecture.d_model**-0.5,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )


def next_token_loss(model: Gemma2ForCausalLM, batch: Batch) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats of every token after BOS, padding left out."""
    hidden = model.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    real = batch.attention_mask[:, 1:].bool()
    logits = model.lm_head(hidden.last_hidden_state[:, :-1][real])  # the config has no soft-cap
    return cross_entropy(logits, batch.input_ids[:, 1:][real])


def train_toy(
    *,
    documents: Mapping[str, str],
    bilingual_documents: str,
    bilingual: float,
    tokenizer: str,
    shares: Mapping[str, float],
    architecture: Architecture,
    training: Training,
    kept_steps: Sequence[int],
    seed: int,
    output: str,
    checkpoints: str,
    table: str,
    state_folder: str,
    metadata: Mapping[str, Any],
) -> None:
    """Train on `documents` (table by language) and save the model, its checkpoints and the training table.

    The share `bilingual` of the tokens are of the table `bilingual_documents`, in two languages each.

    - output: Hugging Face folder, float32 safetensors and tokenizer
    - checkpoints: folder of step{N}/, each such a folder, at `kept_steps` and the last step
    - table: step, tokens (in all), loss (nats a token, mean of the batch), learning_rate, and the
      realised share_{language} of all tokens up to the step
    - state_folder: where a killed run left its state every `training.resume_every` steps; the next run of the same
      settings, corpus, code and versions goes on from there and ends bit for bit where an unbroken one
      does. Removed at the end.

    Raises `IsoglossError` for an empty corpus, a document longer than the context, a loss that is no number, and where
    another run, which a killed snakemake left behind, ended first and removed the state of both.
    """
    from isogloss.tables import atomic_path, write_table

    bpe = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True, trust_remote_code=False)
    corpus = read_corpus(bpe, documents, bilingual_documents if bilingual else None, architecture.context)
    schedule = plan_training(
        {source: [document.tokens for document in rows] for source, rows in corpus.items()},
        shares,
        bilingual=bilingual,
        tokens=training.tokens,
        batch_tokens=training.batch_tokens,
        seed=seed,
    )
    versions = [metadata.get("code"), torch.__version__, transformers.__version__]
    lasting = {**dict(training), "resume_every": None}
    settings = [corpus, dict(shares), bilingual, dict(architecture), lasting, list(kept_steps), seed, versions]
    steps = len(schedule)
    keep = [*(step for step in kept_steps if step < steps), steps]
    torch.manual_seed(seed)
    model = Gemma2ForCausalLM(gemma2_config(architecture)).train()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY, fused=True)
    state = TrainingState(state_folder, digest_of(settings), training.resume_every)
    losses = _resume(state, keep, model, optimizer)
    rates = [
        training.learning_rate * learning_rate_factor(n, steps, training.warmup_steps) for n in range(1, steps + 1)
    ]
    with tqdm(total=steps, initial=len(losses), desc="training", mininterval=1) as progress:
        for step in range(len(losses) + 1, steps + 1):
            optimizer.param_groups[0]["lr"] = rates[step - 1]
            loss = next_token_loss(model, collate([corpus[draw.source][draw.row].ids for draw in schedule[step - 1]]))
            if not torch.isfinite(loss):
                raise IsoglossError(
                    f"{output}: the loss is {loss.item()} at step {step} of {steps}; lower training.learning_rate"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            losses.append(loss.item())
            if step in keep:
                _save(model, bpe, _checkpoint(state, step))
            if state.due(step):
                parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}
                state.save(step, parts)
            progress.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            progress.update()
    if _lost(state, keep):
        raise IsoglossError(f"{state.folder}: another run of this training ended and removed it; run snakemake again")
    write_table(table, _training_table(schedule, corpus, list(shares), losses, rates), metadata)
    with atomic_path(Path(checkpoints)) as folder:
        shutil.copytree(_checkpoint(state, steps).parent, folder)
    with atomic_path(Path(output)) as folder:
        shutil.copytree(_checkpoint(state, steps), folder)
    state.remove()


def read_corpus(
    bpe: PreTrainedTokenizerBase, documents: Mapping[str, str], bilingual: str | None, context: int
) -> Corpus:
    """The documents of each language, and those of each pair in the table `bilingual`, if there is one.

    In a document of several statements BOS is of the first's language and EOS of the last's. Raises `IsoglossError`
    for an empty corpus, and naming the table for a document that the context can not hold.
    """
    from isogloss.sources.world.corpus import read_texts
    from isogloss.tables import iter_table

    corpus: Corpus = {}
    for language, path in documents.items():
        texts = encode_texts(bpe, read_texts(path, language))
        corpus[language] = [_ended(bpe, ids, {language: len(ids)}, language) for ids in texts]
    for frame in iter_table(bilingual, columns=["languages", "statements"]) if bilingual else ():
        for languages, statements in frame.iter_rows():
            parts = encode_texts(bpe, [statements[0], *(f" {statement}" for statement in statements[1:])])
            tokens = dict.fromkeys(languages, 0)
            for language, ids in zip(languages, parts, strict=True):
                tokens[language] += len(ids) - 1  # BOS
            tokens[languages[0]] += 1
            ids = [*parts[0], *(token for part in parts[1:] for token in part[1:])]
            corpus.setdefault(pair_name(languages), []).append(_ended(bpe, ids, tokens, languages[-1]))
    for source, rows in corpus.items():
        origin = documents.get(source, bilingual)
        for row, document in enumerate(rows):
            if len(document.ids) > context:
                raise IsoglossError(
                    f"{origin}: row {row} of {source} has {len(document.ids)} tokens, more than architecture.context"
                    f" {context}; raise it"
                )
    return corpus


def _ended(bpe: PreTrainedTokenizerBase, ids: list[int], tokens: dict[str, int], language: str) -> Document:
    """The document with EOS, which counts as of `language`."""
    end = bpe.eos_token_id
    assert isinstance(end, int)
    return Document([*ids, end], {**tokens, language: tokens[language] + 1})


def _checkpoint(state: TrainingState, step: int) -> Path:
    """Where an unfinished training keeps the checkpoint of a step."""
    return state.folder / "checkpoints" / f"step{step}"


def _lost(state: TrainingState, steps: Sequence[int]) -> list[int]:
    """Those of the steps whose checkpoints are not there."""
    return [step for step in steps if not _checkpoint(state, step).is_dir()]


def _resume(
    state: TrainingState, keep: Sequence[int], model: Gemma2ForCausalLM, optimizer: torch.optim.Optimizer
) -> list[float]:
    """Take up the state of a killed run, unless a checkpoint of `keep` that it is past is lost: the losses so far."""
    saved = state.load()
    if saved is None:
        return []
    if lost := _lost(state, [step for step in keep if step <= len(saved["losses"])]):
        state.discard(f"the checkpoint of step {lost[0]} is lost")
        return []
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    logger.info("going on after step %d", len(saved["losses"]))
    return saved["losses"]


def _save(model: Gemma2ForCausalLM, bpe: PreTrainedTokenizerBase, folder: Path) -> None:
    from isogloss.tables import atomic_path

    with atomic_path(folder) as aside:
        model.save_pretrained(aside)
        bpe.save_pretrained(aside)


def _training_table(
    schedule: Sequence[Sequence[Draw]],
    corpus: Corpus,
    languages: Sequence[str],
    losses: Sequence[float],
    rates: Sequence[float],
) -> "polars.DataFrame":
    import polars

    seen = dict.fromkeys(languages, 0)
    rows = []
    for step, (batch, loss, rate) in enumerate(zip(schedule, losses, rates, strict=True), start=1):
        for draw in batch:
            for language, count in corpus[draw.source][draw.row].tokens.items():
                seen[language] += count
        total = sum(seen.values())
        shares = {f"share_{language}": count / total for language, count in seen.items()}
        rows.append({"step": step, "tokens": total, "loss": loss, "learning_rate": rate, **shares})
    logger.info("realised shares: %s", {key: round(value, 4) for key, value in rows[-1].items() if "share" in key})
    return polars.DataFrame(rows)
