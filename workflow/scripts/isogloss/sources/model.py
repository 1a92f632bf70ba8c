"""Stage `fetch_model`: weights, configuration and tokenizer of a causal language model."""

import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from isogloss.config.model import Shape
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError, several
from isogloss.models.folder import CONFIG, check_architecture, read_config
from isogloss.models.loading import check_loads, load_tokenizer
from isogloss.models.weights import INDEX, WEIGHTS, check_finite, shards_of
from isogloss.sources.hub import Repository, link, open_repository, record
from isogloss.tables import atomic_path

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
OTHERS = (
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
)

NOUNS = {
    "layers": "layers",
    "d_model": "a residual stream of width",
    "d_mlp": "an MLP of width",
    "heads": "attention heads",
    "key_value_heads": "key/value heads",
    "d_head": "heads of width",
    "vocabulary": "tokens in the vocabulary",
}


def fetch_model(*, source: Source, architecture: Shape, output: str) -> None:
    """Make the folder `output` of links to the model's files, safetensors only.

    The configuration comes first and is held against `architecture`, then the tokenizer, so that a wrong model costs
    no large download. Raises `IsoglossError` for a model of another shape, one that isogloss could not measure
    (`read_config`, `check_architecture`, `load_tokenizer`) or load (`check_loads`), without safetensors or tokenizer,
    with a file missing, cut off or not to be read or weights that are no numbers, and what `open_repository` raises.
    """
    repository = open_repository(source)
    if repository.folder and not os.access(repository.folder, os.R_OK | os.X_OK):
        raise IsoglossError(f"{repository.where}: this user may not read the folder; change its permissions")
    if not repository.has(CONFIG):
        raise IsoglossError(f"{repository.where}: no {CONFIG}, so no transformers model; correct the source")
    first = _take(repository, [CONFIG, INDEX] if is_sharded(repository) else [CONFIG])
    _check_shape(first[CONFIG], architecture, repository.where)
    weights = _shards(first[INDEX], repository) if INDEX in first else [WEIGHTS]
    texts = _take(repository, tokenizer_files(repository))
    load_tokenizer(first[CONFIG].parent, repository.where)
    files = first | texts | _take(repository, weights)
    for name in weights:
        check_whole(files[name], f"{repository.where}: {name}")
    with atomic_path(Path(output)) as aside:
        link(files, aside)
        check_loads(aside, repository.where)
        for name in weights:
            check_finite(files[name], f"{repository.where}: {name}")
        record(aside, repository, files)


def _take(repository: Repository, names: list[str]) -> dict[str, Path]:
    """The files; raises `IsoglossError` for one that this user may not read."""
    files = repository.take(names)
    if closed := [name for name, path in files.items() if not os.access(path, os.R_OK)]:
        raise IsoglossError(f"{repository.where}: this user may not read {closed[0]}; change its permissions")
    return files


def is_sharded(repository: Repository) -> bool:
    """Whether the weights are in several files (transformers prefers the single one).

    Raises `IsoglossError` for a repository without safetensors.
    """
    if repository.has(WEIGHTS):
        return False
    if not repository.has(INDEX):
        raise IsoglossError(
            f"{repository.where}: neither {WEIGHTS} nor {INDEX}; isogloss loads nothing pickled: give a repository or"
            " a revision with safetensors, or convert it (save_pretrained) and give `folder`"
        )
    return True


def tokenizer_files(repository: Repository) -> list[str]:
    """The names of the tokenizer's files and of small ones beside it; raises `IsoglossError` if there is none."""
    vocabulary = [name for name in VOCABULARIES if repository.has(name)]
    if not vocabulary:
        raise IsoglossError(f"{repository.where}: no tokenizer ({', '.join(VOCABULARIES)}); give a repository with one")
    return [*(name for name in OTHERS if repository.has(name)), *vocabulary]


def _shards(index: Path, repository: Repository) -> list[str]:
    shards = shards_of(index, repository.where)
    lacking = [name for name in shards if not repository.has(name)]
    if lacking:
        raise IsoglossError(
            f"{repository.where}: {several(lacking)} not there, of {len(shards)} shards that {INDEX} names;"
            " complete the folder or take another revision"
        )
    return shards


def check_whole(path: Path, where: str) -> None:
    """Raise `IsoglossError` for what is no whole safetensors file."""
    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise IsoglossError(
            f"{where}: not a whole safetensors file ({str(error).splitlines()[0]}); a clone without Git LFS or a"
            " download cut off: fetch the file again"
        ) from None


def shape_of(config: Any) -> dict[str, int]:
    """The shape of a transformers configuration under this project's names; a part that it does not tell is absent.

    Attention without grouping has as many key/value heads as heads; a head is `d_model / heads` wide and
    an MLP 4 `d_model` (GPT-2, BLOOM) unless the configuration says otherwise. Of layers that differ (Gemma 4) it is
    the first that counts. A model without attention (Mamba) counts as one with a single head.
    """
    text = config.get_text_config()
    layer = text.per_layer_config[0]
    d_model, heads = text.hidden_size, _first(layer, "num_attention_heads") or 1
    shape = {
        "layers": text.num_hidden_layers,
        "d_model": d_model,
        "d_mlp": _first(layer, "intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner") or 4 * d_model,
        "heads": heads,
        "key_value_heads": _first(layer, "num_key_value_heads", "num_kv_heads") or heads,
        "d_head": _first(layer, "head_dim") or d_model // heads,
        "vocabulary": text.vocab_size,
    }
    return {name: value for name, value in shape.items() if isinstance(value, int)}


def _first(config: Any, *names: str) -> Any:
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if value is not None), None)


def read_shape(path: Path, where: str) -> dict[str, int]:
    """As `shape_of`, of the file `path`, with the layers that isogloss finds.

    Raises `IsoglossError` for what transformers knows no decoder of, and as `check_architecture`.
    """
    config = read_config(path.parent, where)
    layers = check_architecture(config, where)
    return shape_of(config) | {"layers": layers}


def _check_shape(path: Path, declared: Shape, where: str) -> None:
    shape = read_shape(path, where)
    wrong = [
        f"{CONFIG} has {_described(name, shape[name])}, architecture.{name} says {value}"
        for name, value in declared
        if name in shape and shape[name] != value
    ]
    if wrong:
        raise IsoglossError(
            f"{where}: {'; '.join(wrong)}; correct `architecture`, or the source if it is another model"
        )


def _described(name: str, value: int) -> str:
    noun = NOUNS[name]
    return f"{noun} {value}" if noun.endswith("width") else f"{value} {noun}"
