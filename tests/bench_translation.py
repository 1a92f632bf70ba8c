"""Sentences a second of the translation engines, side by side in one run.

PYTHONPATH=workflow/scripts:tests python tests/bench_translation.py [--threads N] [--sentences N] [--nllb]

A model of OPUS-MT's size with random weights (6 + 6 layers, width 512, vocabulary 58,000; the time does not depend on
the weights), sources of 15 to 21 tokens. Random weights never end a sentence, so each engine is held to just 20 tokens.
With --nllb, CTranslate2 runs NLLB-200's distilled 600M as well (12 + 12 layers, width 1024, vocabulary 256,206).
"""

import argparse
import random
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from isogloss.config.pretrained import Source
from isogloss.sources.multilingual import load_multilingual
from isogloss.sources.opus import load_opus
from isogloss.sources.translation_model import TranslationModel
from isogloss.sources.translator import fetch_multilingual
from marian import random_marian
from multilingual import tiny_nllb

TOKENS = 20
VOCABULARY = 58_000
PHRASES, LANGUAGES = 600_000, 9
KINDS = [("transformers", "float32"), ("transformers", "bfloat16"), ("ctranslate2", "float32"), ("ctranslate2", "int8")]


def fixed_length(model: TranslationModel) -> Any:
    """The model's engine, made to write just `TOKENS` tokens."""
    engine: Any = model.engine
    if hasattr(engine, "_translator"):
        plain = engine._translator.translate_batch
        engine._translator = SimpleNamespace(
            translate_batch=partial(plain, min_decoding_length=TOKENS + (model.pieces.first is not None))
        )
    else:
        engine._model.generate = partial(engine._model.generate, min_new_tokens=TOKENS)
    return engine


def seconds(engine: Any, sources: list[list[int]], first: int | None = None) -> float:
    """Wall time of all `sources`, after a small one."""
    engine.generate(sources[:4], [TOKENS] * 4, lambda _: None, first)
    began = time.perf_counter()
    outputs = engine.generate(sources, [TOKENS] * len(sources), lambda _: None, first)
    took = time.perf_counter() - began
    assert {len(ids) for ids in outputs} == {TOKENS}
    return took


def convert(folder: Path, made: Path, compute_type: str) -> Path:
    """A folder with the same model and its conversion."""
    from ctranslate2.converters import TransformersConverter

    made.mkdir()
    for path in folder.iterdir():
        (made / path.name).symlink_to(path)
    TransformersConverter(str(folder)).convert(str(made / "ctranslate2"), quantization=compute_type)
    return made


def large_nllb(folder: Path, compute_type: str) -> Path:
    """A fetched model of the size of NLLB-200's distilled 600M, converted."""
    root, made = folder / "nllb", folder / f"nllb-{compute_type}"
    if not root.exists():
        size = {"d_model": 1024, "encoder_layers": 12, "decoder_layers": 12, "encoder_ffn_dim": 4096}
        size |= {"decoder_ffn_dim": 4096, "encoder_attention_heads": 16, "decoder_attention_heads": 16}
        tiny_nllb(root, pickled=False, random_weights=True, vocab_size=256_206, init_std=0.02, **size)
    source = Source(folder=str(root))
    fetch_multilingual(source=source, backend="nllb", engine="ctranslate2", compute_type=compute_type, output=str(made))
    return made


def row(engine: str, compute_type: str, beams: int, speed: float) -> None:
    """Print a line of the table."""
    hours = PHRASES * LANGUAGES / speed / 3600
    print(f"{engine:14}{compute_type:14}{beams:6}{speed:13.1f}{hours:24.1f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sentences", type=int, default=96)
    parser.add_argument("--nllb", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = random.Random(0)
    sources = [
        [*(generator.randrange(2, VOCABULARY - 1) for _ in range(generator.randint(14, 20))), 0]
        for _ in range(arguments.sentences)
    ]
    with tempfile.TemporaryDirectory() as folder:
        root = random_marian(Path(folder, "model"), vocabulary=VOCABULARY, d_model=512, layers=6, d_ff=2048, heads=8)
        folders = {
            kind: convert(root, Path(folder, kind[1]), kind[1]) if kind[0] == "ctranslate2" else root for kind in KINDS
        }
        print(f"{arguments.sentences} sentences, {arguments.threads} threads, GPU: {torch.cuda.is_available()}")
        print(f"{'engine':14}{'compute type':14}{'beams':>6}{'sentences/s':>13}{'hours for 600,000 x 9':>24}")
        for beams in (1, 4):
            for kind in KINDS:
                engine, compute_type = kind
                model = load_opus(folders[kind], target=None, engine=engine, compute_type=compute_type, beam_size=beams)
                row(engine, compute_type, beams, len(sources) / seconds(fixed_length(model), sources))
        for compute_type in ("float32", "int8") if arguments.nllb else ():
            made = large_nllb(Path(folder), compute_type)
            pair = {"source": "eng_Latn", "target": "hin_Deva"}
            run = {"engine": "ctranslate2", "compute_type": compute_type, "beam_size": 4}
            model, _ = load_multilingual(made, backend="nllb", **pair, **run)
            speed = len(sources) / seconds(fixed_length(model), sources, model.pieces.first)
            row("nllb 600M", compute_type, 4, speed)


if __name__ == "__main__":
    main()
