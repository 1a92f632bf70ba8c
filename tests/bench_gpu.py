"""What a GPU does with the stages at Gemma-2-2B's true shape: random weights, bfloat16, generated texts.

    PYTHONPATH=workflow/scripts:tests python tests/bench_gpu.py OUT [--parts NAME ...] [--card 40] [--tiny]

The stages are called as the workflow calls them; the model is loaded once, so that peaks of `encode` to `steer` have it
in them, and those of `encode`, `score` and `steer` twice. A part writes its figures to OUT/PART.json as soon as it is
done and is left out where they are there already; one that fails (memory runs out, say) is reported and the next goes
on. Only `capture` and `encode` need Parquet. Times are medians, and ratios are of one run; peaks are those of torch's
allocator, beside what `make plan` counts. `--card 40` lets it have 40 GB. `--tiny` goes through all parts on the CPU in
seconds, at sizes that say nothing.

Texts are of 4 to 36 words, 20 on average and a token each; of three phrases one has recorded token ids, and of ten
four share their text with others. A *bare* forward is one over the same distinct texts, each as deep as it is needed
at, in batches of the same budget, with nothing read; *linear* is the time of the layers' matrix products alone.
"""

import argparse
import json
import logging
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from gpu_bench.kernels import kernels
from gpu_bench.reading import capture, encode, forward
from gpu_bench.scoring import score, steer
from gpu_bench.sizes import TINY, Size, planned_peaks
from gpu_bench.training import align, sae_training
from gpu_bench.world import Bench, peak

# What a table is printed of, dearest knowledge first.
PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "forward": forward,
    "kernels": kernels,
    "encode": encode,
    "capture": capture,
    "score": score,
    "steer": steer,
    "align": align,
    "sae_training": sae_training,
}


def run_part(name: str, bench: Bench, out: Path) -> None:
    """Measure one part and write its line, or what went wrong, which the next run tries again."""
    peak(bench.device)
    began = time.perf_counter()
    try:
        figures: dict[str, Any] = PARTS[name](bench)
        path = out / f"{name}.json"
    except Exception as error:  # what fails is shown, and the other parts still have their turn
        figures = {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
        path = out / f"{name}.failed.json"
        traceback.print_exc()
        bench.free()
    planned = planned_peaks(bench.size)[name] / 1e9
    seen = max(peak(bench.device), figures.get("training_peak_gb", 0.0))
    figures |= {"planned_peak_gb": planned, "peak_gb": seen, "wall_s": time.perf_counter() - began}
    path.write_text(json.dumps(figures), encoding="utf-8")
    show(name, figures)


def show(name: str, figures: dict[str, Any]) -> None:
    """Print a part's line."""
    said = [
        f"{key} {value:,.3g}" if isinstance(value, float) and abs(value) < 1000 else
        f"{key} {value:,.0f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in figures.items() if not isinstance(value, list | dict)
    ]  # fmt: skip
    print(f"{name:14}{'; '.join(said)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts that are asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where model and SAEs are made, and kept for the next run")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--card", type=float, help="GB that torch may take, as if the GPU had no more")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    memory = Path("/dev/shm")  # 5 GB of weights are read from there in a second or two
    roomy = not options.tiny and memory.is_dir() and shutil.disk_usage(memory).free > 20e9
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as folder:
        kept = options.folder or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        bench = Bench(TINY if options.tiny else Size(), kept, options.repeats)
        card = torch.cuda.get_device_name() if bench.device.type == "cuda" else "CPU"
        if options.card and bench.device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(min(1.0, options.card * 1e9 / torch.cuda.mem_get_info()[1]))
            card += f" capped at {options.card:g} GB"
        print(f"{card}, torch {torch.__version__}; {bench.size}", flush=True)
        for name in options.parts:
            done = options.out / f"{name}.json"
            if done.exists():
                show(name, json.loads(done.read_text(encoding="utf-8")))
            else:
                run_part(name, bench, options.out)


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"
    logging.getLogger("isogloss").setLevel(logging.ERROR)
    main()
