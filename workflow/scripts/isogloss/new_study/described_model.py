"""A model as its files describe it: shape, vocabulary and BOS, and the sizes that fit it."""

from typing import Any, NamedTuple

from isogloss.config.files import read_file
from isogloss.config.model import Shape
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_tokenizer
from isogloss.new_study.given import Given, open_given
from isogloss.sources.model import is_sharded, tokenizer_files
from isogloss.sources.shapes import CONFIG, kept_shape

DEPTHS = 4  # layers to analyse, where nothing else says which
WIDEST = 16_384  # features of an SAE that is trained here
SAMPLED = 512  # features of a layer that phrases are searched for
LARGE = 1_000_000_000  # parameters from which on a model is computed in bfloat16


class DescribedModel(NamedTuple):
    """A model, before any weight is loaded."""

    given: Given
    shape: Shape
    tokens: int  # of the tokenizer
    bos: str
    bos_id: int
    names: tuple[str, ...]  # by which lists of SAEs may know it

    @property
    def parameters(self) -> int:
        """About how many: embedding, attention and a gated MLP."""
        shape = self.shape
        attention = 2 * shape.d_model * shape.d_head * (shape.heads + shape.key_value_heads)
        return shape.vocabulary * shape.d_model + shape.layers * (attention + 3 * shape.d_model * shape.d_mlp)

    @property
    def depths(self) -> list[int]:
        """Layers at equal steps of the depth, the last one among them; all of a model that has no more."""
        depth = self.shape.layers
        return sorted({max(0, depth * step // DEPTHS - 1) for step in range(1, DEPTHS + 1)})

    @property
    def recipe(self) -> dict[str, int]:
        """SAEs that fit: the power of two next to eight times the residual stream's width, at most `WIDEST`."""
        features = min(WIDEST, 2 ** round(3 + _log2(self.shape.d_model)))
        sizes = {"tokens": 1_000_000, "batch_tokens": 4096, "buffer_tokens": 65_536, "warmup_steps": 50}
        return {"features": features, "k": min(32, features // 8), **sizes}


def describe_model(text: str) -> DescribedModel:
    """The model in the folder `text`, else of that name on the Hub: its configuration and tokenizer are read.

    Raises `IsoglossError` as `open_given`, `kept_shape` and `load_tokenizer`, and for a model without safetensors.
    """
    given = open_given(text, "MODEL")
    shape, repository = kept_shape(given.source), given.repository
    is_sharded(repository)
    files = repository.take([CONFIG, *tokenizer_files(repository)])
    tokenizer: Any = load_tokenizer(files[CONFIG].parent, repository.where)
    names = [given.source.id] if given.on_hub else [_written(files[CONFIG]), given.title]
    bos = str(tokenizer.bos_token)
    return DescribedModel(
        given, shape, len(tokenizer), bos, tokenizer.bos_token_id, tuple(name for name in names if name)
    )


def stride(features: int) -> int:
    """Every how many-th feature to sample, so that about `SAMPLED` are."""
    return max(1, features // SAMPLED)


def _log2(number: int) -> int:
    """The logarithm of the power of two next to a number."""
    lower = number.bit_length() - 1
    return lower + (number > 1.5 * 2**lower)


def _written(config: Any) -> str:
    """The name that transformers wrote into config.json, if any."""
    try:
        name = read_file(config).get("_name_or_path")
    except IsoglossError:
        return ""
    return name if isinstance(name, str) else ""
