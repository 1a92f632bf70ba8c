"""Log-likelihoods of answer choices; the prompt runs once for all its choices."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn
from tqdm import tqdm

from isogloss.residuals.batching import Batch, each_batch


class Score(NamedTuple):
    """How a model rates one choice after its prompt."""

    log_likelihood: float  # sum over the choice's tokens, in nats
    greedy: bool  # whether each of its tokens is the most probable one


@torch.inference_mode()
def score_choices(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[Sequence[int]]],
    *,
    token_budget: int,
    show_progress: bool = True,
) -> list[list[Score]]:
    """The log-likelihood of each choice (token ids, at least one) after its prompt (token ids, BOS first).

    log p(choice | prompt) = sum_t log p(c_t | prompt, c_<t). A prompt goes through the causal LM once,
    its choices continue from copies of the key/value cache: what a forward per choice gives, to float
    tolerance, for less. Prompts are padded on the left, so that distances within a sliding window stay
    what they are. At most `token_budget` positions, counted once a choice, are in a batch.
    """
    scores: list[list[Score]] = [[] for _ in prompts]
    device = next(model.parameters()).device
    progress = tqdm(total=len(prompts), desc="questions", mininterval=2, disable=not show_progress)

    def work(batch: Batch) -> None:
        owner = torch.tensor([i for i, row in enumerate(batch.rows) for _ in choices[row]], device=device)
        prompt, prompt_mask = (part.to(device) for part in _padded([prompts[row] for row in batch.rows], left=True))
        answer, answer_mask = (
            part.to(device) for part in _padded([ids for row in batch.rows for ids in choices[row]], left=False)
        )
        several = answer.shape[1] > 1
        run = model(
            input_ids=prompt,
            attention_mask=prompt_mask,
            position_ids=(prompt_mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=several,
            logits_to_keep=1,
        )
        logits = run.logits[:, -1:][owner].float()  # [choices, 1, vocabulary]
        if several:
            run.past_key_values.batch_select_indices(owner)
            lengths = prompt_mask.sum(-1)[owner]
            later = model(
                input_ids=answer[:, :-1],
                attention_mask=torch.cat([prompt_mask[owner], answer_mask[:, :-1]], dim=1),
                position_ids=lengths[:, None] + torch.arange(answer.shape[1] - 1, device=device),
                past_key_values=run.past_key_values,
                use_cache=True,
            ).logits
            logits = torch.cat([logits, later.float()], dim=1)
        of_token = logits.gather(2, answer[:, :, None]).squeeze(2) - logits.logsumexp(2)
        totals = (of_token * answer_mask).sum(1).tolist()
        greedy = ((logits.argmax(2) == answer) | (answer_mask == 0)).all(1).tolist()
        flat = iter(map(Score, totals, greedy))
        for row in batch.rows:
            scores[row] = [next(flat) for _ in choices[row]]
        progress.update(len(batch.rows))

    most = max(map(len, choices))
    with progress:
        each_batch(prompts, work, token_budget=max(1, token_budget // most))
    return scores


def _padded(ids: Sequence[Sequence[int]], *, left: bool) -> tuple[Int[Tensor, "rows pos"], Int[Tensor, "rows pos"]]:
    """Token ids and their mask, padded with token 0 on one side."""
    width = max(map(len, ids))
    tokens = torch.zeros((len(ids), width), dtype=torch.long)
    mask = torch.zeros((len(ids), width), dtype=torch.long)
    for row, sequence in enumerate(ids):
        span = slice(width - len(sequence), width) if left else slice(0, len(sequence))
        tokens[row, span] = torch.as_tensor(sequence)
        mask[row, span] = 1
    return tokens, mask
