"""What a plan takes for granted: machines, languages and sizes that no study file states."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from isogloss.config.translation import Translation

# Tokens of the same content for one token of English, in a 256k vocabulary such as Gemma's. A guess from scripts and
# word forms, no measurement: Latin scripts near English, Devanagari and Malayalam split finer.
FERTILITY: dict[str, float] = {
    **{"en": 1.0, "zh": 1.1, "ru": 1.4, "es": 1.2, "it": 1.3},
    **{"id": 1.2, "ca": 1.4, "mr": 2.2, "ml": 3.2, "hi": 1.7},
}
OTHER_FERTILITY = 2.0  # of a language that is in no table

PHRASES_PER_FEATURE = 1.4  # at most; paper A: about 600,000 English phrases of 425,984 features

# Tokens of one question and of one of its choices in English, and questions that all ten languages share.
EXAMPLE_TOKENS = {"arc": 40, "hellaswag": 70, "mmlu": 110, "other": 110}
CHOICE_TOKENS = {"arc": 6, "hellaswag": 28, "mmlu": 1, "other": 6}
CHOICES = 4
QUESTIONS = {"arc": 1120, "hellaswag": 6020, "mmlu": 11000, "other": 1000}
QUESTION_BYTES = 2160  # upstream, of a question that all languages share

DATA_SETS = {  # of paper B: questions; tokens in English of a prompt, a choice, and letters, which a cloze lacks
    "belebele": (900, 190, 6, 55),
    "mmmlu": (14_042, 130, 9, 65),
    "hellaswag": (9_200, 210, 30, 150),
    "lm_eval": (1000, 110, 6, 40),
    "toy": (184, 14, 4, 0),
}

# Bytes of a Parquet row as `tables.TableWriter` writes it (zstd), measured on made-up rows.
TRANSLATION_ROW = 87  # mean over ten languages, Latin script taking less and others more
ACTIVATION_ROW = 22
CODE_ROW = 8000  # number and activation of each feature that a text fires, if all are sampled
POOLED_NUMBER = 3.74  # one float32 of a residual
PARALLEL_ROW = 600  # a question of a data set of paper B, in one language
SCORE_ROW = 220  # a question and probed layer
STEERED_ROW = 40  # a question and configuration
FEATURE_ROW = 60  # a feature of paper C

EXPORT_FEATURE = 320e6 / 16384  # a feature's lines of an export, gzipped: about 320 MB a layer of 16,384 features

TRANSLATOR_PARAMETERS = {"opus-mt": 75e6, "nllb": 0.6e9, "madlad": 3e9}  # where the model's name does not tell
# Times that a model of that size takes longer than OPUS-MT; NLLB seen (tests/bench_translation.py: 5 to 7), MADLAD
# assumed, by the weights that a decoded token meets.
TRANSLATOR_SLOWER = {"opus-mt": 1.0, "nllb": 6.0, "madlad": 21.0}
SENTENCE_TOKENS = 15
SENTENCES_PER_SECOND: dict[tuple[str, str], float] = {  # of 15 tokens, one CPU core, beam 4, OPUS-MT's base size
    ("ctranslate2", "float32"): 10.4,
    ("ctranslate2", "int8"): 17.7,
    ("transformers", "float32"): 2.97,
    ("transformers", "bfloat16"): 8.0,
}

SAE_KIND, SAE_FEATURES = "jumprelu", 16384  # of published SAEs whose kind and width the study leaves open
DOCUMENT_TOKENS = 256  # of a document that SAEs are trained on, or phrases searched in
MEASURED_TOKENS = 100_000  # that published SAEs are measured on, at most

CORE_GFLOPS = {"float32": 70.0, "bfloat16": 130.0}  # a second, of one CPU core; seen with a model of 270M parameters
PEAK_TFLOPS = 989.0  # of an H100's or H200's dense bfloat16 products
# The share of it that rules reach, seen at Gemma-2-2B's shape: encode .16 on an H200 and .22 on an H100, capture at
# paper A's stride .05 to .06, scores of 300-token prompts under seven lenses .22, steering in 84 ways by letters .08
# and by texts .17.
REACHED = {"encode": 0.18, "capture": 0.05, "benchmark": 0.22, "latent_score": 0.22, "steer": 0.1, "steer_random": 0.1}
REACHED_ELSEWHERE = 0.2
ALIGN_STEP = 0.25  # seconds that the kernels' launches take, whatever a step's pairs: seen on an H200, .6 on an H100
TRAINS_SAES = ("train_sae", "train_checkpoint_saes", "train_seed_saes", "search_learning_rate")
SAE_TRAINING_TFLOPS = 89.0  # reached: 659,000 token-layers a second of 32,768 features and width 2048
FLOAT32_TFLOPS, FLOAT32_REACHED = 20.0, 0.35  # peak of the GPU's float32 products, and a guess of what is reached
READ_BYTES = 1e9  # a second, weights from disk to GPU
DOWNLOAD_BYTES = 50e6  # a second
GPU_START = 20.0  # seconds, of a job that runs a model
CPU_START = 5.0  # seconds, of any other job; fetching runs in the process of Snakemake itself
# Bytes at a job's peak that are no tensor of the model's: seen on cores, assumed beside a GPU (CUDA's libraries).
PROCESS = 0.47e9
CUDA_PROCESS = 4e9
CARD_BYTES = 80e9  # of a GPU
UNGATED = ("pythia", "gpt-neox", "gpt2", "opt-", "bloom", "xglm")  # in the names of models whose MLP has two matrices
WEIGHT_BYTES = 2.0  # of a parameter of a fetched model on disk


class Settings(NamedTuple):
    """The options of `make plan`."""

    throughput_tflops: float = PEAK_TFLOPS  # of the GPU's bfloat16 products
    utilisation: float | None = None  # share of the peak that is reached; None: by rule
    sentences_per_second: float | None = None  # None: by engine and compute type
    fertility: Mapping[str, float] = FERTILITY
    card_bytes: float = CARD_BYTES  # memory of a GPU
    asked_bytes: Mapping[str, int] = MappingProxyType({})  # memory that the cluster's profile asks for, by rule

    def tokens_per_english_token(self, lang: str) -> float:
        """Tokens of a text in `lang` for one token of the same text in English."""
        return self.fertility.get(lang, OTHER_FERTILITY) / self.fertility["en"]

    def translations_per_second(self, translation: Translation) -> float:
        """Sentences that a translation job turns round in a second, one direction."""
        if self.sentences_per_second is not None:
            return self.sentences_per_second
        kind = "int8" if translation.compute_type.startswith("int8") else translation.compute_type
        at_four = SENTENCES_PER_SECOND.get(
            (translation.engine, kind), SENTENCES_PER_SECOND[translation.engine, "float32"]
        )
        slower = TRANSLATOR_SLOWER[translation.backend] if translation.backend != "parallel" else 1.0
        if translation.model is not None:
            slower *= translator_parameters(translation) / TRANSLATOR_PARAMETERS[translation.backend]
        return at_four * 4 / translation.beam_size / slower


def translator_parameters(translation: Translation) -> float:
    """Parameters of a translation model, by its name (nllb-200-3.3B) if that tells, else as `TRANSLATOR_PARAMETERS`."""
    source = translation.model
    name = (source.id or source.folder or "") if source else ""
    sizes = re.findall(r"(\d+(?:\.\d+)?)([mb])(?![a-z])", name.lower())
    if not sizes:
        return TRANSLATOR_PARAMETERS[translation.backend]
    number, unit = sizes[-1]
    return float(number) * {"m": 1e6, "b": 1e9}[unit]


def of(assumed: Mapping[str, int], task: str) -> int:
    """What is assumed of a task; of any other than Okapi's, whose size no one knows before it is fetched, a guess."""
    return assumed[task] if task in assumed else assumed["other"]
