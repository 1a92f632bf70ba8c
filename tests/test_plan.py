"""Hours, sizes and jobs of the plan, and its command."""

import json
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from isogloss.config import load_study
from isogloss.errors import IsoglossError
from isogloss.plan import __main__ as command
from isogloss.plan import assumptions as assumed
from isogloss.plan import flops, jobs
from isogloss.plan.assumptions import Settings
from isogloss.plan.costs import study_costs
from isogloss.plan.flops import Decoder
from isogloss.plan.planned_model import Cost, planned_model
from isogloss.plan.study_plan import block_size, gpu_seconds, plan_study
from isogloss.plan.table import amount, hours
from isogloss.tables import TableWriter
from planned_study import TINY, planned, pretrained
from standins import tiny_sae

ROOT = Path(__file__).parents[1]


# The arithmetic


def test_phrases_and_their_lengths():
    plain, more = planned(pretrained()), planned(pretrained(), fertility={"ml": 6.0, "en": 1.5})
    assert plain.phrases == pytest.approx(64 * 1.4)
    assert planned(pretrained(phrases={"feature_stride": 3, "per_feature": 1})).phrases == 22
    assert plain.phrase_tokens("ml") == pytest.approx(21 * 3.2)
    assert more.phrase_tokens("ml") == pytest.approx(21 * 4)
    assert plain.texts(["en", "ml"], 2) == pytest.approx((2 * (22 + 68.2), 2 * (22**2 + 68.2**2)))


def test_sae_folders_are_as_large_as_said(tmp_path):
    folder = tiny_sae(tmp_path, kind="jumprelu")
    found = (folder / "sae_weights.safetensors").stat().st_size
    assert flops.sae_bytes(32, 64) == pytest.approx(found, abs=1000)


def test_a_row_of_residuals_is_as_large_as_said(tmp_path):
    width, rows = 2304, 600
    schema = pa.schema({"phrase": pa.int64(), "layer": pa.int32(), "pooled": pa.list_(pa.float32(), width)})
    values = np.random.default_rng(0).normal(size=rows * width).astype(np.float32)
    with TableWriter(tmp_path / "es.parquet", schema) as writer:
        pooled = pa.FixedSizeListArray.from_arrays(pa.array(values), width)
        writer.write({"phrase": pa.array(range(rows)), "layer": pa.array([0] * rows, pa.int32()), "pooled": pooled})
    found = (tmp_path / "es.parquet").stat().st_size / rows
    assert assumed.POOLED_NUMBER * width == pytest.approx(found, rel=0.1)


def test_blocks_trade_loads_for_reruns():
    model = planned(pretrained())
    plan = plan_study(model.study, {"encode": 5}, Settings())
    one, whole = plan.block_sizes
    assert (one, whole) == (block_size(model, 1), block_size(model, "all"))
    tables = 3 + 2  # base in three languages, the run in two
    read = [model.weights(layer + 1) + 4 * 64 * (32 + 2) for layer in range(3)]
    assert (one.jobs, whole.jobs) == (3 * tables, tables)
    assert one.load_hours == pytest.approx(tables * sum(20 + size / 1e9 for size in read) / 3600)
    assert one.work_hours == pytest.approx(whole.work_hours)
    assert one.rerun_hours == pytest.approx((one.load_hours + one.work_hours) / 3)
    assert whole.rerun_hours == pytest.approx(whole.load_hours + whole.work_hours)
    saved = whole.rerun_hours - one.rerun_hours
    assert plan.break_even["tiny"] * saved == pytest.approx(one.load_hours - whole.load_hours)


def test_hours_are_work_and_loads():
    settings = Settings(throughput_tflops=100, utilisation=0.5)
    cost = Cost("encode", 4, load=2e9, forward=5e14, sae=1e13)
    assert gpu_seconds(cost, "bfloat16", settings) == pytest.approx(10 + 1 + 4 * (20 + 2))
    assert gpu_seconds(cost._replace(jobs=2), "float32", settings) == pytest.approx(50 + 1 + 2 * (20 + 2))


def test_hours_of_a_rule_are_by_what_it_was_seen_to_reach():
    work, launches = Cost("encode", 1, forward=989e12 * 0.18, sae=7e12), Cost("align", 1, launches=75.0)
    assert gpu_seconds(work, "bfloat16", Settings()) == pytest.approx(1 + 1 + 20)
    assert gpu_seconds(launches, "bfloat16", Settings()) == pytest.approx(75 + 20)
    trained = gpu_seconds(Cost("train_checkpoint_saes", 1, sae=89e12), "bfloat16", Settings())
    assert trained == pytest.approx(1 + 20)
    alignment = planned(
        pretrained(alignment={"iterations": 500, "runs": {"a": {"target_layer": 1, "languages": ["ml"]}}})
    )
    found = next(cost for cost in study_costs(alignment.study, [alignment]) if cost.rule == "align")
    assert found.launches == 500 * assumed.ALIGN_STEP


def test_translation_is_priced_by_sentences():
    jobs_by_rule = {"translate": 6, "encode": 5}
    study = load_study(pretrained())
    row = next(row for row in plan_study(study, jobs_by_rule, Settings(sentences_per_second=2)).stages if row.tokens)
    sentences = 2 * 3 * 64 * 1.4 * 21 / 15
    assert (row.stage, row.jobs, row.gpu_hours) == ("translate", 6, 0)
    assert row.cpu_hours == pytest.approx((sentences / 2 + 6 * 5) / 3600)


@pytest.mark.parametrize(
    ("backend", "name", "size", "slower"),
    [
        ("nllb", "facebook/nllb-200-distilled-600M", 0.6e9, 6.0),
        ("nllb", "facebook/nllb-200-3.3B", 3.3e9, 6.0 * 5.5),
        ("madlad", "google/madlad400-3b-mt", 3e9, 21.0),
        ("madlad", "someone/my-translator", 3e9, 21.0),
    ],
)
def test_one_model_of_all_languages_is_fetched_once_and_slower(backend: str, name: str, size: float, slower: float):
    config = pretrained()
    opus = load_study(config).translation
    config["translation"] = {"backend": backend, "model": {"id": name}}
    study = load_study(config)
    models = [planned_model(study, model, Settings()) for model in study.models]
    costs = {cost.rule: cost for cost in study_costs(study, models)}
    assert costs["fetch_multilingual"].disk == pytest.approx(3 * 4 * size)
    assert "fetch_translator" not in costs
    speed = Settings().translations_per_second
    assert speed(opus) / speed(study.translation) == pytest.approx(slower)
    config["translation"]["round_trip"] = False
    once = load_study(config)
    models = [planned_model(once, model, Settings()) for model in once.models]
    there = next(cost for cost in study_costs(once, models) if cost.rule == "translate")
    assert costs["translate"].seconds == pytest.approx(2 * there.seconds)


def test_the_size_of_the_paper():
    """Gemma-2-2B and 600,000 phrases a language: bounds worked out by hand."""
    gemma = Decoder(26, 2304, 9216, 8, 4, 256, 256_000)
    assert gemma.layer_parameters * 26 == pytest.approx(2.024e9, rel=0.001)
    assert flops.forward(gemma, 26, 1, 0) == pytest.approx(4.05e9, rel=0.001)
    assert flops.head(gemma, 1) == pytest.approx(1.18e9, rel=0.001)
    assert 26 * flops.sae_columns("topk", 2304, 16384, 1, 1) == pytest.approx(1.96e9, rel=0.005)
    assert flops.sae_bytes(2304, 16384) == pytest.approx(302e6, rel=0.005)


# Jobs

STATS = """Building DAG of jobs...
Job stats:
job                  count
-----------------  -------
encode                   8
figure_similarity        1
all                      1
total                   10

Job stats:
job                  count
encode                   8
total                   10
"""


def test_job_stats_are_read_once_and_without_targets():
    assert jobs.job_stats(STATS) == {"encode": 8, "figure_similarity": 1}
    assert list(map(jobs.stage_of, ("encode", "figure_similarity", "html_gain"))) == ["encode", "report", "report"]
    assert jobs.job_stats("Nothing to be done.") == {}


FAST = ("config", "disparity-gemma-2-2b")  # the other studies are tried with whole workflows
STUDIES = [
    pytest.param(path, id=path.stem, marks=() if path.stem in FAST else pytest.mark.workflow)
    for path in (ROOT / "config" / "config.yaml", *sorted((ROOT / "config" / "studies").glob("*.yaml")))
]


@pytest.mark.parametrize("path", STUDIES)
def test_a_dry_run_has_the_jobs_that_are_costed(path, tmp_path):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    for model in config["models"].values():
        if "source" in model:  # without a network its config.json cannot be asked
            model.setdefault("architecture", {key: getattr(TINY, key) for key in Decoder._fields[:7]} | {"layers": 28})
    path = tmp_path / path.name
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    study = command.read_study(str(path))
    found = jobs.count_jobs(path, ROOT)
    assert {jobs.stage_of(rule) for rule in found} <= set(jobs.STAGES)
    assert plan_study(study, found, Settings()).total.jobs == sum(found.values())
    costed = Counter()
    for cost in study_costs(study, [planned_model(study, name, Settings()) for name in study.models]):
        costed[cost.rule] += cost.jobs
    assert {rule: found[rule] for rule, number in costed.items() if number} == +costed


# The command


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(pretrained()))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(command, "count_jobs", lambda *_, **__: {"encode": 5, "gap": 1, "align": 1})
    return str(path)


def test_the_table(study_file, capsys):
    assert command.main([study_file]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "plan of stand-in"
    assert " ".join(lines[2].split()) == "stage jobs tokens forward FLOP SAE FLOP read kept GPU h CPU h or core h"
    names = [line.split("  ")[0] for line in lines[4 : lines.index("", 4)]]
    assert [name for name in names if name in ("encode", "align", "total")] == ["encode", "align", "total"]
    assert len({len(line) for line in lines[2:4]}) == 1
    assert "encode jobs by compute.layers_per_job" in out
    assert "tiny: 1 is cheaper from" in out
    assert "tokens for one of English: en=1 es=1.2 ml=3.2" in out


def test_without_a_gpu_everything_takes_core_hours():
    study = load_study(pretrained(compute={"dtype": "bfloat16"}))
    plan = plan_study(study, {"encode": 5, "align": 1, "gap": 1}, Settings())
    for stage in plan.stages:
        seconds = stage.forward_flops / 130e9 + stage.sae_flops / 70e9
        starts = 3600 * stage.core_hours - 3600 * stage.cpu_hours - seconds
        assert starts == pytest.approx(20 * (stage.jobs if stage.gpu_hours else 0) + stage.read_bytes / 1e9, abs=1e-6)
    assert plan.total.core_hours > plan.total.cpu_hours


@pytest.mark.parametrize("saes", ["trained", "published"])
def test_phrases_are_searched_where_there_are_no_exports(saes):
    model = pretrained()["models"]["tiny"]
    del model["neuronpedia"]
    if saes == "trained":
        del model["saes"]
        model["sae"] = {"features": 64, "k": 8, "tokens": 5000, "held_out_tokens": 1000}
    texts = {"parallel": {"folder": "nowhere/corpus"}, "translation": {"backend": "parallel"}}
    study = load_study(pretrained(models={"tiny": model}, **texts))
    costs = {cost.rule: cost for cost in study_costs(study, [planned_model(study, "tiny", Settings())])}
    assert "fetch_exports" not in costs
    assert costs["phrases"].tokens == study.phrases.corpus_tokens
    assert ("train_sae" in costs, "fetch_sae" in costs) == (saes == "trained", saes == "published")
    if saes == "trained":
        assert costs["train_sae"].tokens == 6000


def test_json_has_the_same_numbers(study_file, capsys):
    assert command.main([study_file, "--json", "--fertility", "ml=6.0", "--throughput-tflops", "900"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["jobs"] == {"encode": 5, "gap": 1, "align": 1}
    assert plan["total"]["tokens"] == pytest.approx(sum(stage["tokens"] for stage in plan["stages"]))
    assert plan["break_even"]["tiny"] > 0
    assert any("ml=6" in note for note in plan["notes"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no.yaml: no study file: No such file"),
        ("a: [", "no.yaml:1: no YAML: expected the node content"),
        ("- 1", "no mapping of keys"),
        ("study: x", "models: Field required; a study is whole and replaces the default one"),
    ],
)
def test_mistakes_are_named(study_file, tmp_path, capsys, content, message):
    path = tmp_path / "no.yaml"
    if content is not None:
        path.write_text(content)
    assert command.main([str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("isogloss: ")
    assert message in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fertility", "xx=2"], "unknown language 'xx'"),
        (["--fertility", "ml=fast"], "'fast' is no positive number"),
        (["--utilisation", "3"], "--utilisation: 3: a share, at most 1"),
    ],
)
def test_options_are_checked(study_file, capsys, options, message):
    with pytest.raises(SystemExit):
        command.main([study_file, *options])
    assert message in capsys.readouterr().err


def test_a_dry_run_that_fails_is_told_in_one_line(tmp_path):
    (tmp_path / "Snakefile").write_text('raise WorkflowError("no such thing")\n')
    (tmp_path / "study.yaml").write_text("study: x\n")
    with pytest.raises(IsoglossError, match=r"study\.yaml: snakemake -n fails: .*no such thing") as error:
        jobs.count_jobs(tmp_path / "study.yaml", tmp_path)
    assert "\n" not in str(error.value)


def test_numbers_for_people():
    assert [amount(number, "B") for number in (0, 12, 1234, 999_999, 3.2e8, 1.26e9, 1.51e14)] == [
        "-",
        "12.0 B",
        "1.23 kB",
        "1.00 MB",
        "320 MB",
        "1.26 GB",
        "151 TB",
    ]
    assert [hours(value) for value in (0, 0.001, 0.25, 3.14, 1234.5)] == ["-", "<0.01", "0.25", "3.1", "1,234"]


def test_a_total_row_adds_up():
    plan = plan_study(load_study(pretrained()), {"encode": 5, "gap": 1}, Settings())
    for field in fields(plan.total)[1:]:
        total = sum(getattr(stage, field.name) for stage in plan.stages)
        assert getattr(plan.total, field.name) == pytest.approx(total)
    assert plan.total.jobs == 6
