"""Weights of translation models: which files have them, pickled ones as safetensors, any as CTranslate2 reads them."""

import tempfile
from pathlib import Path
from typing import Any

from isogloss.errors import IsoglossError, several
from isogloss.models.encoder_decoder import load_encoder_decoder
from isogloss.sources.hub import Repository
from isogloss.sources.multilingual import read_json, vocabulary_of

_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"


def weight_files(repository: Repository) -> tuple[list[str], bool]:
    """The files with the weights, the index of several first, and whether they are pickled.

    Raises `IsoglossError` for a repository without weights, and for one that lacks some of several.
    """
    for name in (_SAFE, _PICKLED):
        index = f"{name}.index.json"
        if repository.has(name):
            return [name], name == _PICKLED
        if repository.has(index):
            shards = _shards(repository, index)
            return [index, *shards], name == _PICKLED
    raise IsoglossError(f"{repository.where}: neither {_SAFE} nor {_PICKLED}; give a repository with weights")


def _shards(repository: Repository, index: str) -> list[str]:
    named = read_json(repository.take([index])[index].parent, index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise IsoglossError(f"{repository.where}: {index} names no weights; fetch it again")
    shards = sorted(set(named.values()))
    lacking = [name for name in shards if "/" in name or not repository.has(name)]
    if lacking:
        raise IsoglossError(
            f"{repository.where}: {several(lacking)} not there, of {len(shards)} files that {index} names; complete"
            " the folder or take another revision"
        )
    return shards


def unpickle(source: Path, output: Path, where: str) -> None:
    """Write the pickled weights in `source` as safetensors into `output`, running no pickled code.

    Raises `IsoglossError` as `load_encoder_decoder`.
    """
    model = load_encoder_decoder(source, where=where, pickled=True)
    # A folder of its own: the configuration in `output` is a link, through which saving would write to its source.
    with tempfile.TemporaryDirectory(dir=output) as folder:
        model.save_pretrained(folder)
        for made in (*Path(folder).glob("model*.safetensors*"), Path(folder, "generation_config.json")):
            if made.exists() and not (output / made.name).exists():
                made.replace(output / made.name)


class _Tokens:
    """What CTranslate2's converter wants of a multilingual model's tokenizer, from the files that our encoding reads.

    transformers' own may have more tokens than the model (T5's sentinels), which the converter refuses.
    """

    def __init__(self, folder: Path, backend: str) -> None:
        config = read_json(folder, "config.json")
        self._ids = {
            token: number for token, number in vocabulary_of(folder, backend).items() if number < config["vocab_size"]
        }
        self._names = {number: token for token, number in self._ids.items()}
        self.special_tokens_map: dict[str, Any] = {}
        self.unk_token = "<unk>"
        self.unk_token_id = self._ids["<unk>"]
        self.bos_token = "<s>"
        self.pad_token = self._names[config["pad_token_id"]]
        self.eos_token = self._names[config["eos_token_id"]]

    def get_vocab(self) -> dict[str, int]:
        return self._ids

    def convert_ids_to_tokens(self, number: int) -> str:
        return self._names[number]


def convert(folder: Path, compute_type: str, where: str, backend: str = "opus-mt") -> None:
    """Make the subfolder `ctranslate2` of a model, its weights in `compute_type`.

    Raises `IsoglossError` if CTranslate2 is not installed, cannot convert the model, or cannot run what it made of it.
    """
    try:
        from ctranslate2 import Translator
        from ctranslate2.converters import TransformersConverter
    except ImportError:
        raise IsoglossError(
            "engine ctranslate2: the package ctranslate2 is not installed; install it or take engine transformers"
        ) from None

    class Multilingual(TransformersConverter):
        def load_model(self, *arguments: Any, **more: Any) -> Any:
            model = super().load_model(*arguments, **more)
            # transformers keeps under this name what T5's config.json means by `tie_word_embeddings`, and CTranslate2
            # scales logits by the latter, which transformers sets to true.
            model.config.tie_word_embeddings = getattr(model.config, "scale_decoder_outputs", True)
            return model

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return _Tokens(folder, backend)

    converter = TransformersConverter if backend == "opus-mt" else Multilingual
    try:
        made = converter(str(folder)).convert(str(folder / "ctranslate2"), quantization=compute_type)
        Translator(made, device="cpu").translate_batch([["</s>"]], beam_size=1, max_decoding_length=2)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())
        raise IsoglossError(
            f"{where}: CTranslate2 cannot convert it ({reason}); take engine transformers or another model"
        ) from None
