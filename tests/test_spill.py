from contextlib import ExitStack

import numpy as np
import pytest

from isogloss.spill import SpillFile

ROW = np.dtype([("number", np.int64), ("value", np.float32, (2,))])


def rows(first: int, count: int) -> np.ndarray:
    made = np.zeros(count, ROW)
    made["number"] = np.arange(first, first + count)
    made["value"] = made["number"][:, None] / 3
    return made


@pytest.mark.parametrize(("least", "sizes"), [(1, [4, 2, 5, 1]), (5, [6, 5, 1]), (6, [6, 6]), (99, [12])])
def test_rows_come_back_in_order_and_what_was_appended_together_stays_together(tmp_path, least, sizes):
    with ExitStack() as stack:
        file = SpillFile(ROW, stack=stack, folder=tmp_path / "new")
        assert list(file.chunks(least)) == []
        for first, count in ((0, 4), (4, 2), (6, 5), (11, 1)):
            file.append(rows(first, count))
        for _ in range(2):  # it can be read again, and added to
            chunks = list(file.chunks(least))
            assert [len(chunk) for chunk in chunks] == sizes
            assert (np.concatenate(chunks) == file.read()).all()
        assert (file.read() == rows(0, 12)).all()
        file.append(rows(12, 3))
        assert (file.read() == rows(0, 15)).all()
        assert (file.take([7, 0, 7]) == rows(0, 12)[[7, 0, 7]]).all()
        assert len(file.take([])) == 0
        assert not list((tmp_path / "new").iterdir())  # it has no name
