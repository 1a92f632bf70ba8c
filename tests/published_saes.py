"""Stand-ins of published SAEs, fetched from a folder."""

from pathlib import Path
from typing import Any

import sae_standins as standins
from isogloss.config.pretrained import Saes
from isogloss.sources.saes.fetch import fetch_sae
from sae_standins import D_MODEL, LAYER

BARE = standins.without_threshold()


def fetch(root: Path, path: str, output: Path, *, layer: int = LAYER, model: str | None = None, **changed: Any) -> Path:
    """The SAE at `path` of the folder `root`, fetched."""
    d_model = changed.pop("d_model", D_MODEL)
    source = {"folder": str(root), "id": changed.pop("id", None)}
    saes = Saes.model_validate({"source": source, "ids": {layer: path}, **changed})
    fetch_sae(saes=saes, sae_id=path, layer=layer, d_model=d_model, model=model, output=str(output))
    return output
