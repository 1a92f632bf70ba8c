"""What a plan takes for granted: machines, languages and sizes that no study file states."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

# Tokens of the same content for one token of English, in a 256k vocabulary such as Gemma's. A guess from scripts and
# word forms, no measurement: Latin scripts near English, Devanagari and Malayalam split finer.
FERTILITY: dict[str, float] = {
    "en": 1.0,
    "zh": 1.1,
    "ru": 1.4,
    "es": 1.2,
    "it": 1.3,
    "id": 1.2,
    "ca": 1.4,
    "mr": 2.2,
    "ml": 3.2,
    "hi": 1.7,
}
OTHER_FERTILITY = 2.0  # of a language that is in no table

# Tokens of one question and of one of its choices in English, and questions that all ten languages share.
EXAMPLE_TOKENS: dict[str, int] = {"arc": 40, "hellaswag": 70, "mmlu": 110}
CHOICE_TOKENS: dict[str, int] = {"arc": 6, "hellaswag": 28, "mmlu": 1}
CHOICES = 4
QUESTIONS: dict[str, int] = {"arc": 1120, "hellaswag": 6020, "mmlu": 11000}
QUESTION_BYTES = 1800  # of a row of a JSONL file, mean over scripts

# Bytes of a Parquet row as `tables.TableWriter` writes it (zstd): windows of 15 words from English documentation, ids
# drawn by Zipf's law, random activations, row groups of 4,096; 32,768 rows each.
PHRASE_ROW = 105
REFERENCE_ROW = 100  # translations: the reference language's rows, with their ids
TRANSLATION_ROW = 64
OTHER_SCRIPT = 1.6  # a text's bytes in another script to those in Latin script; a guess
ACTIVATION_ROW = 22
POOLED_NUMBER = 3.74  # one float32 of a residual; 4.9 in the small row groups of a toy
BENCHMARK_ROW = 60
RECORD_ROW = 700  # a recorded activation of 128 tokens: ids and values
EXPORT_FEATURE = 320e6 / 16384  # a feature's lines of an export, gzipped: about 320 MB a layer of 16,384 features
EXPORT_RECORDS = 45  # of a feature: up to 20 top activations and five bins of five
RECORDS_PER_SECOND = 20_000  # gzipped JSON lines parsed on one core
RECORD_TOKENS = 128  # of a recorded activation

# OPUS-MT's base size (Marian): where a translator is on disk, its config.json is read instead.
TRANSLATOR: dict[str, int] = {
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_ffn_dim": 2048,
    "vocab_size": 60_000,
}
# Sentences of 15 tokens translated in a second by one CPU core at beam 4 with that size.
SENTENCES_PER_SECOND: dict[tuple[str, str], float] = {
    ("ctranslate2", "float32"): 10.4,
    ("ctranslate2", "int8"): 17.7,
    ("transformers", "float32"): 2.97,
    ("transformers", "bfloat16"): 8.0,
}
WEIGHT_BYTES: dict[str, float] = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "int8_float16": 1}


class Settings(NamedTuple):
    """The options of `make plan`."""

    throughput_tflops: float = 300.0  # peak of the GPU's bfloat16 matrix products: A100 312, H100 990
    float32_tflops: float = 20.0  # peak of its float32 products: SAE encoders, and forwards in float32
    utilisation: float = 0.35  # share of the peak that is reached
    read_gb_per_second: float = 1.0  # weights from disk to GPU
    startup_seconds: float = 20.0  # of a job that runs a model: Python, torch, transformers, CUDA
    cpu_startup_seconds: float = 5.0  # of any other job
    cpu_gflops: float = 20.0  # of one CPU core while it trains the toy model
    sentences_per_second: float | None = None  # of a translation job; None: by engine and compute type
    translation_device: Literal["cpu", "gpu"] = "cpu"
    download_mb_per_second: float = 50.0
    phrases_per_feature: float = 1.4  # paper A: about 600,000 English phrases of 425,984 features
    weight_bytes: float = 2.0  # of a parameter of a pretrained model on disk
    fertility: Mapping[str, float] = FERTILITY

    def tokens_per_reference_token(self, lang: str, reference: str) -> float:
        """Tokens of a text in `lang` for one token of the same text in `reference`."""
        if lang == reference:
            return 1.0
        of_reference = self.fertility.get(reference, OTHER_FERTILITY)
        return self.fertility.get(lang, OTHER_FERTILITY) / of_reference

    def translations_per_second(self, engine: str, compute_type: str, beam_size: int) -> float:
        """Sentences that a translation job turns round in a second, one direction."""
        if self.sentences_per_second is not None:
            return self.sentences_per_second
        kind = "int8" if compute_type.startswith("int8") else compute_type
        at_four = SENTENCES_PER_SECOND.get((engine, kind), SENTENCES_PER_SECOND[engine, "float32"])
        return at_four * 4 / beam_size
