"""The folder of `make real REAL=FOLDER`: model, texts and questions instead of those in `config/studies/real.yaml`.

`python -m isogloss.config.real_folder OUTPUT [FOLDER]` writes what is to be merged into that study; without a folder
nothing is.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isogloss.config.files import read_file
from isogloss.errors import IsoglossError
from isogloss.languages import language
from isogloss.tables import atomic_path

STUDY = Path(__file__).parents[4] / "config" / "studies" / "real.yaml"
HELP = 'config/README.md, "A folder for make real"'
PARTS = (
    "model/ (config.json, *.safetensors and the tokenizer, as transformers saves them)",
    "segments/LANG.jsonl (segment, text)",
    "documents/LANG.jsonl (text)",
    "belebele/data/FLORES.jsonl (as facebook/belebele)",
)


def sources_of(folder: Path, study: dict[str, Any]) -> dict[str, Any]:
    """What of `study`, the content of real.yaml, changes if model, texts and questions are those of `folder`.

    The model is called as its config.json says, else by its type and number of layers. Raises `IsoglossError` for
    a folder that is not there or, all at once, for what it lacks of the study's model and languages.
    """
    if not folder.is_dir():
        raise IsoglossError(f"REAL={folder}: no such folder; give one as {HELP} describes, or leave REAL out")
    languages = list(dict.fromkeys(study["languages"]["high_resource"] + study["languages"]["medium_low_resource"]))
    wanted = ["model/config.json", "model/*.safetensors", "model/tokenizer*"]
    wanted += [f"{part}/{lang}.jsonl" for part in ("segments", "documents") for lang in languages]
    wanted += [f"belebele/data/{language(lang).flores}.jsonl" for lang in languages]
    absent = [name for name in wanted if not any(path.is_file() for path in folder.glob(name))]
    parts = {name: part for name in absent if not (folder / (part := name.split("/")[0])).is_dir()}
    if lacking := list(dict.fromkeys(f"{parts[name]}/" if name in parts else name for name in absent)):
        raise IsoglossError(
            f"REAL={folder}: no {', '.join(lacking)}; it must have {', '.join(PARTS)} for each of"
            f" {' '.join(languages)}: {HELP}"
        )
    folder = folder.absolute()
    (model,) = study["models"]
    questions = {"source": {"id": None, "folder": str(folder / "belebele")}}
    return {
        "models": {
            model: {"title": title_of(folder / "model"), "source": {"id": None, "folder": str(folder / "model")}}
        },
        "parallel": {
            **{"id": None, "folder": str(folder / "segments"), "files": "{lang}.jsonl"},
            **{"id_column": "segment", "text_column": "text"},
        },
        "documents": {
            lang: {"id": None, "folder": str(folder / "documents"), "files": f"{lang}.jsonl", "column": "text"}
            for lang in languages
        },
        "benchmarks": {"tasks": dict.fromkeys(study["benchmarks"]["tasks"], questions)},
        "latent": {"tasks": dict.fromkeys(study["latent"]["tasks"], questions)},
    }


def title_of(model: Path) -> str:
    """How figures call the model of a folder. Raises `IsoglossError` for a config.json that is none."""
    config = read_file(model / "config.json")
    name = config.get("_name_or_path") or config.get("_model_name_or_path")
    if isinstance(name, str) and name.strip():
        return name.rstrip("/").rpartition("/")[2]
    return f"{config.get('model_type', 'model')}, {config.get('num_hidden_layers', '?')} layers"


def main(arguments: Sequence[str]) -> int:
    """Write the file; a mistake ends in its line and exit status 1."""
    output, folder = Path(arguments[0]), "".join(arguments[1:])
    try:
        sources = sources_of(Path(folder).expanduser(), read_file(STUDY)) if folder else {}
    except IsoglossError as error:
        print(f"isogloss: {error}", file=sys.stderr)
        return 1
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as aside:
        aside.write_text(json.dumps(sources, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
