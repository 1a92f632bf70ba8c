"""The logit lens: hidden layers read as distributions over the vocabulary (paper B, eq. 7)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeGuard

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from isogloss.errors import IsoglossError
from isogloss.models.architecture import Decoder, decoder_of, hidden_of, unwrapped
from isogloss.models.hooks import computing, head_logits, read_after
from isogloss.scoring.online_softmax import Scaling, scan_words
from isogloss.scoring.trial import packs

# Logits that are held at a time, as (tokens, words): what a core's cache takes; on a GPU, whose heads that `scaling_of`
# knows go by `scan_words`, what keeps it busy.
_TILE = {"cpu": (256, 2048)}
_LARGE_TILE = (4096, 16_384)
_SOFTCAP = "final_logit_softcapping"  # the setting
_PAIRS = 4096  # of a token and a word, whose logits are made one by one at a time


class Lens(NamedTuple):
    """How hidden layers of a causal LM are read. At the last layer it is the model's own output, options or not."""

    model: PreTrainedModel  # the causal LM without PEFT's wrapper
    decoder: Decoder
    final_norm: bool  # whether the final norm is applied to hidden layers (the paper's formula is silent)
    softcap: bool  # whether Gemma 2's soft-cap of logits is
    packed: bool  # whether the model takes a prompt and all its continuations in one sequence (`packs`)
    # Of hidden layers and of the last one, where words are scored by `scan_words`; none: by the head's own forward.
    scalings: tuple[Scaling, Scaling] | None = None


def lens_of(model: nn.Module, *, final_norm: bool = True, softcap: bool = True) -> Lens:
    """The logit lens of a causal LM of any architecture that `decoder_of` understands, tried on few tokens.

    Raises `IsoglossError` if the last layer, final norm and head of `model` do not make its logits.
    """
    inner = unwrapped(model)
    lens = Lens(inner, decoder_of(model), final_norm, softcap, packs(model))
    residual, logits = _check(lens)
    return _scanning(lens, residual, logits) if residual.is_cuda else lens


def scaling_of(lens: Lens, layer: int) -> Scaling | None:
    """What the model makes of its head's output at `layer`, found by trying; none where it is no `Scaling`.

    For Gemma 2 a soft-cap, for Cohere and Granite a factor, for most neither.
    """
    output = torch.cat([torch.linspace(-90, 90, 61), torch.ones(1)]).to(lens.model.device)
    hidden = torch.zeros(len(output), lens.decoder.d_model, dtype=lens.model.dtype, device=output.device)
    head: Any = lens.model.get_output_embeddings()
    if not _plain(head):
        return None
    with _reading(lens, layer), computing(lambda _: output[None, :, None], [head]):
        logits = head_logits(lens.model, hidden)[:, 0]
    unit = float(logits[-1])
    scalings = [Scaling(), Scaling(unit)]
    if cap := getattr(lens.model.config.get_text_config(), _SOFTCAP, None):
        scalings += [Scaling(1.0, cap), Scaling(cap * math.atanh(min(max(unit / cap, -0.99), 0.99)), cap)]
    for scaling in scalings:
        if scaling.factor > 0 and torch.allclose(scaling.of(output), logits.float(), rtol=1e-5, atol=1e-5):
            return scaling
    return None


def lens_logits(
    lens: Lens, residual: Float[Tensor, "tokens d_model"], layer: int
) -> Float[Tensor, "tokens vocabulary"]:
    """Logits of the residual stream after block `layer`: final norm, the model's own head, soft-cap; in float32.

    At the last layer they are the model's logits: norm and soft-cap once each. Scalings of logits that
    other architectures have are the head's and stay. For a few tokens: all the vocabulary's logits are held.
    """
    hidden = _normed(lens, residual, layer)
    width = _tile(lens, hidden)[1]
    parts: list[Tensor] = []
    with _reading(lens, layer):
        for first in range(0, _vocabulary(lens), width):
            peaks = torch.full((len(hidden),), -torch.inf)
            with _columns(lens.model.get_output_embeddings(), first, width, peaks):
                parts.append(head_logits(lens.model, hidden).float())
    return torch.cat(parts, dim=1)


class WordScores(NamedTuple):
    """How probable a lens finds words."""

    log_probabilities: Float[Tensor, " pairs"]  # nats, normalised over the whole vocabulary, in float32
    greedy: Bool[Tensor, " pairs"]  # whether no word is more probable; of equals the first is meant, as `torch.argmax`


def score_words(
    lens: Lens,
    residual: Float[Tensor, "tokens d_model"],
    layer: int,
    rows: Int[Tensor, " pairs"],
    words: Int[Tensor, " pairs"],
) -> WordScores:
    """log softmax(lens of `residual[rows]`)[words], and whether each word is the greedy one.

    Logits are made a tile of tokens × words at a time, of which only log-sum-exp and maximum are kept beside
    those of `words`; in float32 whatever the model's precision: bfloat16 has steps of 1/8 at logits of 18, so that
    words tie which do not.
    """
    hidden = _normed(lens, residual, layer)
    head = lens.model.get_output_embeddings()
    if lens.scalings and _plain(head):
        scaling = lens.scalings[_is_last(lens, layer)]
        return WordScores(*scan_words(hidden, head.weight, head.bias, scaling, rows, words))
    vocabulary = _vocabulary(lens)
    height, width = _tile(lens, hidden)
    totals = torch.full((len(hidden),), -torch.inf, device=hidden.device)
    best, peaks = totals.clone(), totals.clone()
    logit = torch.empty(len(rows), device=hidden.device)  # of each word
    greedy = torch.zeros(len(rows), dtype=torch.bool, device=hidden.device)
    with _reading(lens, layer):
        for first in range(0, vocabulary, width):
            inside = ((words >= first) & (words < first + width)).nonzero()[:, 0]
            for start in range(0, len(hidden), height):
                span = slice(start, start + height)
                with _columns(head, first, width, peaks[span]):
                    logits = head_logits(lens.model, hidden[span]).float()
                top = logits.amax(1)
                here = inside[(rows[inside] >= start) & (rows[inside] < start + height)]
                row, word = rows[here] - start, words[here] - first
                logit[here] = logits[row, word]
                leads = (logit[here] == top[row]) & (logit[here] > best[span][row])
                greedy[here[leads]] = logits[row[leads]].argmax(1) == word[leads]
                best[span] = torch.maximum(best[span], top)
                shift = top.clamp(min=torch.finfo(top.dtype).min)  # a word ruled out has logit -inf
                part = logits.sub_(shift[:, None]).exp_().sum(1).log() + shift
                totals[span] = torch.logaddexp(totals[span], part)
    greedy &= logit == best[rows]
    if _plain(head) and head.weight.dtype != torch.float32 and not hidden.is_cuda:
        with _reading(lens, layer):
            logit = _exact(lens, hidden, rows, words)
    return WordScores(logit - totals[rows], greedy)


def _vocabulary(lens: Lens) -> int:
    return lens.model.config.get_text_config().vocab_size


def _tile(lens: Lens, hidden: Tensor) -> tuple[int, int]:
    """Tokens and words whose logits are made at a time."""
    height, width = _TILE.get(hidden.device.type, _LARGE_TILE)
    if _plain(lens.model.get_output_embeddings()):
        return height, width
    vocabulary = _vocabulary(lens)  # an adapter's on the head, say: its logits come whole
    return max(1, height * width // vocabulary), vocabulary


def _plain(head: Any) -> TypeGuard[nn.Linear]:
    return type(head) is nn.Linear


def _normed(lens: Lens, residual: Float[Tensor, "tokens d_model"], layer: int) -> Float[Tensor, "tokens d_model"]:
    return lens.decoder.norm(residual) if lens.final_norm or _is_last(lens, layer) else residual


def _is_last(lens: Lens, layer: int) -> bool:
    return layer == len(lens.decoder.layers) - 1


@contextmanager
def _reading(lens: Lens, layer: int) -> Iterator[None]:
    """While open, the head is as the lens of `layer` has it: without soft-cap, if that is wished for."""
    config: Any = lens.model.config.get_text_config()
    cap = getattr(config, _SOFTCAP, None)
    if cap is None or lens.softcap or _is_last(lens, layer):
        yield
        return
    setattr(config, _SOFTCAP, None)
    try:
        yield
    finally:
        setattr(config, _SOFTCAP, cap)


@contextmanager
def _columns(head: Any, first: int, width: int, peaks: Float[Tensor, " tokens"]) -> Iterator[None]:
    """While open, a linear head gives the logits of `width` words from `first` on, in float32; any other its own.

    `peaks` are as `_products` has them.
    """
    if not _plain(head):
        yield
        return
    weight = head.weight[first : first + width]
    bias = None if head.bias is None else head.bias[first : first + width]

    def forward(hidden: Float[Tensor, "1 tokens d_model"]) -> Float[Tensor, "1 tokens words"]:
        logits = _products(hidden[0], weight, peaks)[None]
        return logits if bias is None else logits + bias.float()

    with computing(forward, [head]):
        yield


def _products(
    hidden: Float[Tensor, "tokens d_model"], weight: Float[Tensor, "words d_model"], peaks: Float[Tensor, " tokens"]
) -> Float[Tensor, "tokens words"]:
    """`hidden @ weight.T` in float32, of half precision too, at the speed of that.

    A GPU multiplies half precision and gives float32. A CPU rounds each product: it is made less a number near the
    row's largest, so that what is near that is exact to float32 and the rest to 1/256 of how far it is. `peaks` has
    the largest of earlier words, -inf of none, and is brought up to date; a row with a larger product is made again.
    """
    if weight.dtype == torch.float32:
        return functional.linear(hidden, weight)
    hidden = hidden.to(weight.dtype)
    if hidden.is_cuda:
        return torch.mm(hidden, weight.T, out_dtype=torch.float32)
    products = _less(hidden, weight, peaks.nan_to_num(neginf=0).to(weight.dtype))
    largest = products.amax(1)
    passed = (largest > peaks + _NEAR).nonzero()[:, 0]
    if len(passed):
        products[passed] = _less(hidden[passed], weight, largest[passed].to(weight.dtype))
    peaks.copy_(torch.maximum(peaks, largest.detach()))
    return products


_NEAR = 0.5  # so far above the number taken off, a product in bfloat16 is still exact to 1/512


def _less(
    hidden: Float[Tensor, "tokens d_model"], weight: Float[Tensor, "words d_model"], shift: Float[Tensor, " tokens"]
) -> Float[Tensor, "tokens words"]:
    """The products, rounded to half precision after `shift` is taken off, in float32 with it."""
    return torch.addmm(-shift[:, None], hidden, weight.T).float() + shift[:, None].float()


def _exact(
    lens: Lens, hidden: Float[Tensor, "tokens d_model"], rows: Int[Tensor, " pairs"], words: Int[Tensor, " pairs"]
) -> Float[Tensor, " pairs"]:
    """The logits of words one by one, in float32: for a CPU, which rounds those far from the largest."""
    head: Any = lens.model.get_output_embeddings()
    parts: list[Tensor] = []
    for row, word in zip(rows.split(_PAIRS), words.split(_PAIRS), strict=True):
        logits = (hidden[row].float() * head.weight[word].float()).sum(1)
        logits = logits if head.bias is None else logits + head.bias[word].float()
        with computing(lambda _, logits=logits: logits[None, :, None], [head]):
            parts.append(head_logits(lens.model, hidden[row])[:, 0].float())
    return torch.cat(parts) if parts else torch.empty(0)


@torch.inference_mode()
def _check(lens: Lens) -> tuple[Float[Tensor, "tokens d_model"], Float[Tensor, "tokens vocabulary"]]:
    """Hold the last layer's lens against the model's logits on a few tokens: the last residual and these logits."""
    last = len(lens.decoder.layers) - 1
    device = next(lens.model.parameters()).device
    with read_after(lens.model, last) as outputs:
        logits = lens.model(input_ids=torch.arange(1, 5, device=device)[None], use_cache=False).logits[0].float()
    residual = hidden_of(outputs[0])[0]
    if not _close(lens_logits(lens, residual, last).float(), logits):
        raise IsoglossError(
            f"{type(lens.model).__name__}: its logits are not those of its final norm and head on the last layer's"
            " output, so its layers cannot be read by the logit lens; add what is between to isogloss/scoring/lens.py"
        )
    return residual, logits


def _close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().amax()), equal_nan=True)


@torch.inference_mode()
def _scanning(
    lens: Lens, residual: Float[Tensor, "tokens d_model"], logits: Float[Tensor, "tokens vocabulary"]
) -> Lens:
    """`lens` with `scalings`, if its model's are known and a scan of `residual` makes `logits`, the last ones."""
    last = len(lens.decoder.layers) - 1
    of_hidden, of_last = scaling_of(lens, -1), scaling_of(lens, last)
    if of_hidden is None or of_last is None:
        return lens
    scanning = lens._replace(scalings=(of_hidden, of_last))
    words = torch.linspace(0, logits.shape[1] - 1, 64, device=logits.device).long().repeat(len(logits))
    rows = torch.arange(len(logits), device=logits.device).repeat_interleave(64)
    found = score_words(scanning, residual, last, rows, words).log_probabilities
    return scanning if _close(found, logits.log_softmax(1)[rows, words]) else lens
