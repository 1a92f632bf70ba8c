"""Neuronpedia exports of a stand-in model: really run, in exactly the upstream record format (export-data.py)."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch


def write_exports(
    folder: Path,
    *,
    lm: Path,
    sae: Path,
    layer: int,
    texts: Sequence[str],
    model: str = "gemma-2-2b",
    source: str,
    per_file: int = 16,
    records_per_feature: int = 6,
    tokens: int = 32,
    bos: Literal["recorded", "unrecorded", "absent"] = "recorded",
    zero_bos: bool = True,
) -> None:
    """Write `folder`/{model}/{source}/activations/batch-N.jsonl.gz for all features that fire on `texts`.

    As SAELens' ActivationsStore packs them, contexts have `tokens` tokens, BOS first, and hold the texts one after
    another with BOS between. File N has the features per_file * N to per_file * (N + 1) - 1 in the order of their
    names as strings; a feature has its strongest contexts (binContains -1) and up to two of its weaker ones.
    `bos`: whether the first one is in the records, only in the forward, or in neither. `zero_bos`: 0 is recorded at
    every BOS, as for Gemma 2.
    """
    contexts, codes, bos_id, names = _run(lm, sae, layer, texts, tokens, bos)
    is_bos = contexts == bos_id
    if zero_bos:
        codes[is_bos] = 0
    codes = np.round(codes.astype(np.float64), 3)
    if bos == "unrecorded":
        contexts, codes = contexts[:, 1:], codes[:, 1:]
    path = folder / model / source / "activations"
    path.mkdir(parents=True, exist_ok=True)
    n_features = codes.shape[2]
    for number, start in enumerate(range(0, n_features, per_file)):
        lines = []
        for index in sorted(range(start, min(start + per_file, n_features)), key=str):
            for rank, row, bins in _chosen(codes[:, :, index].max(axis=1), records_per_feature):
                values = codes[row, :, index]
                record = {
                    "id": f"c{layer}x{index}x{rank}",
                    "modelId": model,
                    "layer": source,
                    "index": str(index),
                    "creatorId": "creator",
                    "dataSource": None,
                    "tokens": [names[token] for token in contexts[row]],
                    "maxValue": values.max(),
                    "minValue": values.min(),
                    "values": values.tolist(),
                    "maxValueTokenIndex": int(values.argmax()),
                    "dfaValues": [],
                    "dfaMaxValue": None,
                    "dfaTargetIndex": None,
                    **bins,
                }
                lines.append(json.dumps(record) + "\n")
        write_lines(path / f"batch-{number}.jsonl.gz", lines)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_bytes(gzip.compress("".join(lines).encode(), compresslevel=5, mtime=0))


def _run(
    lm: Path, sae: Path, layer: int, texts: Sequence[str], tokens: int, bos: str
) -> tuple[np.ndarray, np.ndarray, int, list[str]]:
    """Contexts [contexts, tokens], SAELens' activations [contexts, tokens, features], BOS, the vocabulary's strings."""
    from sae_lens import SAE
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(lm)
    start = tokenizer.bos_token_id
    rows: list[list[int]] = [[start]]
    for ids in tokenizer(list(texts), add_special_tokens=False).input_ids:
        for token in [start, *ids]:
            if len(rows[-1]) == tokens:
                rows.append([start])
            if token != start or len(rows[-1]) > 1:  # no second BOS in front
                rows[-1].append(token)
    if len(rows) > 1:  # upstream, too, drops the rest that does not fill a context
        rows = [row for row in rows if len(row) == tokens]
    contexts = torch.tensor(rows)
    if bos == "absent":
        contexts = contexts[:, 1:]

    model = AutoModelForCausalLM.from_pretrained(lm, dtype=torch.float32).eval()
    encoder = SAE.load_from_disk(sae, device="cpu")
    states: list[torch.Tensor] = []
    handle = model.model.layers[layer].register_forward_hook(lambda _module, _inputs, output: states.append(output))
    with torch.no_grad():
        for batch in contexts.split(32):
            model(batch)
        handle.remove()
        codes = torch.cat([encoder.encode(state) for state in states])
    return contexts.numpy(), codes.numpy(), start, tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))


def _chosen(maxima: np.ndarray, count: int) -> list[tuple[int, int, dict[str, Any]]]:
    """Number, context and bins of a feature's records."""
    order = [int(row) for row in np.argsort(-maxima, kind="stable") if maxima[row] > 0]
    top, weaker = order[: max(1, count - 2)], order[max(1, count - 2) :]
    largest = float(maxima[order[0]]) if order else 0.0
    chosen = [(row, {"binContains": -1, "binMin": -1, "binMax": largest}) for row in top]
    for row in weaker[:: max(1, len(weaker) // 2)][: count - len(top)]:
        fifth = min(4, int(5 * maxima[row] / largest))
        bins = {"binContains": 0.2, "binMin": fifth * largest / 5, "binMax": (fifth + 1) * largest / 5}
        chosen.append((row, bins))
    return [(rank, row, bins) for rank, (row, bins) in enumerate(chosen)]
