import json

import pytest

import bench_gpu


@pytest.mark.workflow
def test_every_part_has_figures_and_is_not_measured_twice(tmp_path, capsys):
    arguments = [str(tmp_path), "--tiny", "--repeats", "1", "--card", "40"]
    bench_gpu.main([*arguments, "--parts", *bench_gpu.PARTS])
    for name in bench_gpu.PARTS:
        figures = json.loads((tmp_path / f"{name}.json").read_text())
        assert "failed" not in figures
        assert figures["planned_peak_gb"] > figures["peak_gb"] == 0  # seen of a GPU alone
        assert all(value > 0 for key, value in figures.items() if key.endswith(("_per_s", "_to_bare", "_rate")))
    (tmp_path / "align.json").write_text('{"steps_per_s": 4321.0}')
    bench_gpu.main(arguments)
    assert "steps_per_s 4,321" in capsys.readouterr().out


def test_a_part_that_fails_leaves_the_others_their_turn(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(bench_gpu.PARTS, "forward", lambda _: 1 / 0)
    bench_gpu.main([str(tmp_path), "--tiny", "--repeats", "1", "--parts", "forward", "align"])
    assert "ZeroDivisionError" in json.loads((tmp_path / "forward.failed.json").read_text())["failed"]
    assert (tmp_path / "align.json").exists()
    assert "failed ZeroDivisionError" in capsys.readouterr().out
