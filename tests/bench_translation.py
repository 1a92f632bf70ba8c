"""Sentences a second of the translation engines, side by side in one run.

PYTHONPATH=workflow/scripts:tests python tests/bench_translation.py [--threads N] [--sentences N]

A model of OPUS-MT's size with random weights (6 + 6 layers, width 512, vocabulary 58,000; the time does not depend on
the weights), sources of 15 to 21 tokens. Random weights never end a sentence, so each engine is held to just 20 tokens.
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

from isogloss.sources.opus import OpusModel
from marian import random_marian

TOKENS = 20
VOCABULARY = 58_000
PHRASES, LANGUAGES = 600_000, 9
KINDS = [("transformers", "float32"), ("transformers", "bfloat16"), ("ctranslate2", "float32"), ("ctranslate2", "int8")]


def fixed_length(model: OpusModel) -> Any:
    """The model's engine, made to write just `TOKENS` tokens."""
    engine: Any = model.engine
    if hasattr(engine, "_translator"):
        plain = engine._translator.translate_batch
        engine._translator = SimpleNamespace(translate_batch=partial(plain, min_decoding_length=TOKENS))
    else:
        engine._model.generate = partial(engine._model.generate, min_new_tokens=TOKENS)
    return engine


def seconds(engine: Any, sources: list[list[int]]) -> float:
    """Wall time of all `sources`, after a small one."""
    engine.generate(sources[:4], [TOKENS] * 4, lambda _: None)
    began = time.perf_counter()
    outputs = engine.generate(sources, [TOKENS] * len(sources), lambda _: None)
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sentences", type=int, default=96)
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
                model = OpusModel(folders[kind], target=None, engine=engine, compute_type=compute_type, beam_size=beams)
                speed = len(sources) / seconds(fixed_length(model), sources)
                hours = PHRASES * LANGUAGES / speed / 3600
                print(f"{engine:14}{compute_type:14}{beams:6}{speed:13.1f}{hours:24.1f}", flush=True)


if __name__ == "__main__":
    main()
