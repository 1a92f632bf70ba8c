"""What a plan takes for granted: machines, languages and sizes that no study file states."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# Tokens of the same content for one token of English, in a 256k vocabulary such as Gemma's. A guess from scripts and
# word forms, no measurement: Latin scripts near English, Devanagari and Malayalam split finer.
FERTILITY: dict[str, float] = {
    **{"en": 1.0, "zh": 1.1, "ru": 1.4, "es": 1.2, "it": 1.3},
    **{"id": 1.2, "ca": 1.4, "mr": 2.2, "ml": 3.2, "hi": 1.7},
}
OTHER_FERTILITY = 2.0  # of a language that is in no table

# Tokens of one question and of one of its choices in English, and questions that all ten languages share.
EXAMPLE_TOKENS = {"arc": 40, "hellaswag": 70, "mmlu": 110}
CHOICE_TOKENS = {"arc": 6, "hellaswag": 28, "mmlu": 1}
CHOICES = 4
QUESTIONS = {"arc": 1120, "hellaswag": 6020, "mmlu": 11000}
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
TOY_DOCUMENT = 30  # tokens; attention over so few counts for nothing

# OPUS-MT's base size (Marian), and sentences of 15 tokens that one CPU core translates in a second at beam 4 with it.
TRANSLATOR = {"d_model": 512, "encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 2048, "vocab_size": 60_000}
SENTENCES_PER_SECOND: dict[tuple[str, str], float] = {
    ("ctranslate2", "float32"): 10.4,
    ("ctranslate2", "int8"): 17.7,
    ("transformers", "float32"): 2.97,
    ("transformers", "bfloat16"): 8.0,
}
WEIGHT_BYTES: dict[str, float] = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "int8_float16": 1}


class Settings(BaseModel):
    """The options of `make plan`."""

    model_config = ConfigDict(frozen=True)

    throughput_tflops: float = Field(300.0, description="peak of the GPU's bfloat16 matrix products, TFLOP/s")
    float32_tflops: float = Field(20.0, description="peak of its float32 products, TFLOP/s")
    utilisation: float = Field(0.35, description="share of the peak that is reached")
    read_gb_per_second: float = Field(1.0, description="weights from disk to GPU, GB/s")
    startup_seconds: float = Field(20.0, description="start of a job that runs a model, s")
    cpu_startup_seconds: float = Field(5.0, description="start of any other job, s")
    cpu_gflops: float = Field(20.0, description="a CPU core training a toy model, GFLOP/s")
    download_mb_per_second: float = Field(50.0, description="network, MB/s")
    # Paper A: about 600,000 English phrases of 425,984 features.
    phrases_per_feature: float = Field(1.4, description="phrases that a feature has, mean")
    weight_bytes: float = Field(2.0, description="bytes of a parameter of a fetched model on disk")
    sentences_per_second: float | None = Field(None, description="translated by a job; by engine and compute type")
    translation_device: Literal["cpu", "gpu"] = Field("cpu", description="whose hours translations are")
    fertility: dict[str, float] = Field(FERTILITY, description="tokens for one token of English, ml=6.0 say")

    def tokens_per_reference_token(self, lang: str, reference: str) -> float:
        """Tokens of a text in `lang` for one token of the same text in `reference`."""
        if lang == reference:
            return 1.0
        return self.fertility.get(lang, OTHER_FERTILITY) / self.fertility.get(reference, OTHER_FERTILITY)

    def translations_per_second(self, engine: str, compute_type: str, beam_size: int) -> float:
        """Sentences that a translation job turns round in a second, one direction."""
        if self.sentences_per_second is not None:
            return self.sentences_per_second
        kind = "int8" if compute_type.startswith("int8") else compute_type
        at_four = SENTENCES_PER_SECOND.get((engine, kind), SENTENCES_PER_SECOND[engine, "float32"])
        return at_four * 4 / beam_size
