"""The state of unfinished work: kept while it runs, taken up by a run of the same settings, removed at the end."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def digest_of(*parts: Any) -> str:
    """A digest of all that unfinished work depends on: settings, code, versions, inputs."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str).encode()).hexdigest()


def file_marks(path: str | Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of the file `path`, or of the files in the folder `path`."""
    files = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


class TrainingState:
    """The state of an unfinished training in `folder`, which is its alone and goes with it.

    A state belongs to a `digest`; how often it is saved, every `every` steps, is no part of that.
    """

    def __init__(self, folder: str | Path, digest: str, every: int) -> None:
        self.folder = Path(folder)
        self._path = self.folder / "state.pt"
        self._digest = digest
        self._every = every
        self._saved = 0  # steps at the last save

    def load(self, device: "torch.device | str" = "cpu") -> dict[str, Any] | None:
        """What a killed run of the same digest saved; else None, and what others left or was cut off is removed."""
        import torch  # which translation, whose state are tables, does without

        if not self._path.exists():
            self.remove()
            return None
        if not is_zipfile(self._path):  # as torch writes them
            self.discard("cut off")
            return None
        saved = torch.load(self._path, weights_only=True, map_location=device)
        if saved["digest"] != self._digest:
            self.discard("of a run with other settings or code")
            return None
        self._saved = saved["steps"]
        return saved

    def due(self, steps: int) -> bool:
        """Whether after `steps` steps the state is to be saved again."""
        return steps >= self._saved + self._every

    def save(self, steps: int, parts: Mapping[str, Any]) -> None:
        """Write `parts` aside, then put them in the place of those before."""
        import torch

        from isogloss.tables import atomic_path

        with atomic_path(self._path) as aside:
            torch.save({"digest": self._digest, "steps": steps, **parts}, aside)
        self._saved = steps

    def discard(self, reason: str) -> None:
        """Throw away a state that cannot be gone on from, and say why."""
        logger.info("%s: %s, thrown away; starting anew", self._path, reason)
        self._saved = 0
        self.remove()

    def remove(self) -> None:
        """Remove the folder: the state first, since without what else is there it must not look like one."""
        self._path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
