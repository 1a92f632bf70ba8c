"""Peak memory of the stages that read every phrase, at two corpus sizes: it must not grow with the corpus.

`PYTHONPATH=workflow/scripts:tests python tests/memory.py` prints, for each stage, the peak resident memory (MiB) at
10,000 and at 100,000 phrases of the same kind and their ratio. Each stage is a fresh process of its own; this one
imports nothing heavy, since Linux counts a child's peak from its parent's memory on. A tiny real model stands in, so
what is seen is the stage's own part: batches, tables and statistics.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZES = (10_000, 100_000)
LAYERS, FEATURES = 4, 2_000  # phrases are spread evenly over layers and each layer's features
LANGUAGES = ["en", "es", "ml"]
STAGES = ("encode", "codes", "capture", "similarity", "gap", "controls", "gain")
MODEL = {"adapter": None, "layers": list(range(LAYERS)), "token_budget": 2048}
STATISTICS = {"reference": "en", "bootstrap": 100, "confidence": 0.95, "seed": 0, "metadata": {}}
GROUPS = {"high_resource": ["en", "es"], "medium_low_resource": ["ml"]}


def peaks(folder: Path, size: int) -> dict[str, float]:
    """MiB of each stage at its peak, with `size` phrases."""
    _process("make_corpus", folder, size)
    by_stage: dict[str, float] = {}
    for stage in STAGES:
        by_stage[stage] = _process(stage, folder, size)
        if stage in ("encode", "capture"):
            _process(f"{stage}_other_languages", folder, size)
    return by_stage


def _process(step: str, folder: Path, size: int) -> float:
    """Run a step in a process of its own; its peak in MiB."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--sizes", str(size)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), "1")
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{step} failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def stage_settings(more: dict[str, Any], **sections: str) -> dict[str, Any]:
    """`more` with the sections of the config, by their classes' names."""
    from config_sections import grouped
    from isogloss.config import measures

    return grouped(more, **{name: getattr(measures, section) for name, section in sections.items()})


# --- Steps: each runs in its own process and imports what it needs ---------------------------------


def make_corpus(folder: Path, size: int) -> None:
    """Model, SAEs, phrases and the reference's translations, the tables written a few thousand rows at a time."""
    import numpy as np
    import polars as pl
    import pyarrow as pa

    from isogloss.tables import TableWriter
    from standins import TEXTS, tiny_gemma2, tiny_sae

    tiny_gemma2(folder / "lm", layers=LAYERS)
    for layer in range(LAYERS):
        cfg = tiny_sae(folder / "sae" / f"layer_{layer}", kind="jumprelu", features=FEATURES, seed=layer) / "cfg.json"
        cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    schema = pa.schema(
        {
            "phrase": pa.int64(),
            "layer": pa.int32(),
            "feature": pa.int32(),
            "text": pa.string(),
            "ids": pa.list_(pa.int32()),
            "chrf": pa.float32(),
        }
    )
    words = " ".join(TEXTS).split()
    rng = np.random.default_rng(0)
    a_layer = size // LAYERS
    with TableWriter(folder / "phrases.parquet", schema) as writer:
        for layer in range(LAYERS):
            feature = np.sort(np.arange(a_layer) % FEATURES)
            for start in range(0, a_layer, 4096):
                features = feature[start : start + 4096]
                first = layer * a_layer + start
                rows = {"phrase": np.arange(first, first + len(features)), "feature": features}
                text = [" ".join(rng.choice(words, size=rng.integers(3, 9))) for _ in features]
                writer.write(
                    pl.DataFrame({**rows, "layer": layer, "text": text, "ids": None, "chrf": None}).with_columns(
                        pl.col("ids").cast(pl.List(pl.Int32)), pl.col("chrf").cast(pl.Float32)
                    )
                )


def encode(folder: Path) -> None:
    """Stage encode."""
    from isogloss.sae.encode import encode

    encode(
        **stage_settings(MODEL, compute="Compute"),
        lm=str(folder / "lm"), sae=str(folder / "sae"), translations={"en": str(folder / "phrases.parquet")},
        outputs={"en": str(folder / "activations" / "en.parquet")}, seed=0, metadata={},
    )  # type: ignore[arg-type]  # fmt: skip


def codes(folder: Path) -> None:
    """Stage codes, of phrases that are the same in two languages."""
    from isogloss.sae.codes import write_codes

    settings = {name: value for name, value in MODEL.items() if name != "adapter"}
    write_codes(
        **stage_settings(settings, compute="Compute"),
        lm=str(folder / "lm"), sae=str(folder / "sae"), kind="phrases", reference="en", texts=500, feature_stride=1,
        tables={key: [str(folder / "phrases.parquet")] for key in ["en", "es"]}, seed=0, metadata={},
        outputs={"en": str(folder / "codes" / "en.parquet")},
    )  # type: ignore[arg-type]  # fmt: skip


def capture(folder: Path) -> None:
    """Stage capture, of every fourth feature."""
    from isogloss.residuals.capture import capture

    capture(
        **stage_settings(MODEL, compute="Compute"),
        lm=str(folder / "lm"), translations={"en": [str(folder / "phrases.parquet")]}, feature_stride=4,
        outputs={"en": str(folder / "residuals" / "en.parquet")}, metadata={},
    )  # type: ignore[arg-type]  # fmt: skip


def similarity(folder: Path) -> None:
    """Stage similarity."""
    from isogloss.residuals.similarity import measure_similarity

    outputs = {name: folder / "tables" / f"{name}.parquet" for name in ("similarity", "similarity_pairs")}
    measure_similarity(
        residuals=_tables(folder, "residuals"), langs=LANGUAGES, phrases=[str(folder / "phrases.parquet")],
        candidates=1000, **_strings(outputs), **stage_settings(STATISTICS, statistics="Statistics"),
    )  # type: ignore[arg-type]  # fmt: skip


def gap(folder: Path) -> None:
    """Stage gap."""
    from isogloss.disparity.gap import measure_gap

    names = ("language_gap", "group_gap", "group_activation", "language_gap_summary")
    measure_gap(
        activations=_tables(folder, "activations"), langs=LANGUAGES, minimum_phrases=1,
        **_strings({name: folder / "tables" / f"{name}.parquet" for name in names}),
        **stage_settings(GROUPS | STATISTICS, statistics="Statistics", languages="Languages"),
    )  # type: ignore[arg-type]  # fmt: skip


def controls(folder: Path) -> None:
    """Stage controls."""
    from isogloss.disparity.gap_controls import measure_controls

    measure_controls(
        activations=_tables(folder, "activations"), langs=LANGUAGES, minimum_phrases=1,
        activation_controls=str(folder / "tables" / "activation_controls.parquet"),
        **stage_settings(STATISTICS, statistics="Statistics"),
    )  # type: ignore[arg-type]  # fmt: skip


def gain(folder: Path) -> None:
    """Stage gain, of an adapter that changes nothing."""
    from isogloss.disparity.gain import measure_gain

    tables = _tables(folder, "activations")
    measure_gain(
        base=tables, base_langs=LANGUAGES, adapted=tables, adapted_runs=["run"] * 3, adapted_langs=LANGUAGES,
        alignment_gain=str(folder / "tables" / "alignment_gain.parquet"), target_layers={"run": 2}, held_out=0.1,
        minimum_phrases=1, **stage_settings(STATISTICS, statistics="Statistics"),
    )  # type: ignore[arg-type]  # fmt: skip


def other_languages(folder: Path, kind: str, values: list[str]) -> None:
    """The other languages' tables: the reference's with noise, every twentieth phrase without translation."""
    import numpy as np
    import pyarrow as pa

    from isogloss.tables import TableWriter, open_table

    table = open_table(folder / kind / "en.parquet")
    for number, lang in enumerate(LANGUAGES[1:], start=1):
        rng = np.random.default_rng(number)
        with TableWriter(folder / kind / f"{lang}.parquet", table.schema_arrow) as writer:
            for group in range(table.num_row_groups):
                rows = table.read_row_group(group)
                gone = rows["phrase"].to_numpy() % 20 == number
                columns: dict[str, Any] = {name: rows[name] for name in rows.column_names}
                for name in values:
                    column = rows[name].combine_chunks()
                    if pa.types.is_fixed_size_list(column.type):
                        vectors = column.flatten().to_numpy() + rng.normal(size=len(column.flatten()))
                        size, flat = column.type.list_size, pa.array(vectors.astype(np.float32))
                        columns[name] = pa.FixedSizeListArray.from_arrays(flat, size, mask=pa.array(gone))
                    else:
                        noisy = column.to_numpy() * rng.uniform(0.5, 1.0, size=len(column))
                        columns[name] = pa.array(noisy, mask=gone).cast(column.type, safe=False)
                if "chrf" in columns:
                    columns["chrf"] = pa.array(rng.uniform(0, 100, size=len(rows)), mask=gone)
                writer.write(columns)


def encode_other_languages(folder: Path) -> None:
    """The activations of the other languages."""
    own = ["activation", "pre_activation", "shuffled_activation", "random_activation"]
    other_languages(folder, "activations", own)


def capture_other_languages(folder: Path) -> None:
    """The residuals of the other languages."""
    other_languages(folder, "residuals", ["pooled"])


def _strings(paths: dict[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items()}


def _tables(folder: Path, kind: str) -> list[str]:
    return [str(folder / kind / f"{lang}.parquet") for lang in LANGUAGES]


def main() -> None:
    """Measure all stages at both sizes, or run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of phrases to compare")
    parser.add_argument("--json", action="store_true", help="print MiB by size and stage as JSON")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "make_corpus":
        make_corpus(arguments.folder, arguments.sizes[0])
    elif arguments.step:
        globals()[arguments.step](arguments.folder)
    if arguments.step:
        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
        return
    by_size: dict[int, dict[str, float]] = {}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            by_size[size] = peaks(Path(folder), size)
    if arguments.json:
        print(json.dumps(by_size))
        return
    print("peak MiB".ljust(12) + "".join(f"{size:>12,}" for size in by_size) + f"{'ratio':>10}")
    for stage in STAGES:
        numbers = [of_size[stage] for of_size in by_size.values()]
        print(stage.ljust(12) + "".join(f"{n:12.0f}" for n in numbers) + f"{numbers[-1] / numbers[0]:10.3f}")


if __name__ == "__main__":
    main()
