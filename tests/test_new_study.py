"""`make study`: study files for stand-ins of three families in folders and on a Hub, and each bad input in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import hub as server
from isogloss.config import load_study
from isogloss.config.files import read_file
from isogloss.new_study import __main__ as command
from isogloss.new_study.described_model import DescribedModel, describe_model, stride
from isogloss.new_study.published_saes import suggestions
from isogloss.new_study.study_page import comment
from isogloss.plan.jobs import count_jobs
from isogloss.sources.saes.choice import choose
from isogloss.sources.saes.release import find_release, released_models
from isogloss.sources.shapes import kept_shape
from standins import tiny_model

REPOSITORY = Path(__file__).parents[1]
LANGUAGES = ["en", "es", "hi"]
FAMILIES = {"gemma3": '"<bos>" (2)', "qwen2": '"<|endoftext|>" (0)', "gpt-neox": '"<|endoftext|>" (0)'}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        tiny_model(folder / family, family=family, layers=6)
    return folder


@pytest.fixture
def segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus in three languages, in the folder in which the command runs."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "segments"
    write_segments(folder)
    return folder


def write_segments(folder: Path, languages: list[str] = LANGUAGES) -> None:
    folder.mkdir(exist_ok=True)
    for lang in languages:
        rows = [{"segment": f"s{number}", "text": f"{lang} {number}"} for number in range(40)]
        (folder / f"{lang}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def run(*arguments: str | Path) -> int:
    return command.main(list(map(str, arguments)))


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert run(*arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("isogloss: ")
    assert printed.err.count("\n") == 1
    assert not Path("config", "studies").exists() or not [*Path("config", "studies").glob(".*")]
    return printed.err


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_in_a_folder(family: str, models: Path, segments: Path, capsys: pytest.CaptureFixture[str]):
    assert run(models / family, "--languages", "en es,hi", "--segments", segments) == 0
    path = Path("config", "studies", f"my-{family}.yaml")
    out = capsys.readouterr().out
    assert out.startswith(f"wrote {path}: layers 0, 2, 3, 5, SAEs trained here; similarity gap alignment benchmarks")
    assert f"make plan STUDY={path}\n" in out
    assert f"snakemake -n --configfile {path}\n" in out
    study = load_study(read_file(path), shape_of=kept_shape)
    model = study.models[family]
    assert study.study == f"my-{family}"
    assert (study.languages.high_resource, study.languages.medium_low_resource) == (["en", "es"], ["hi"])
    assert model.layer_list == [0, 2, 3, 5]
    assert model.sae is not None
    assert (model.sae.features, model.sae.k) == (256, 32)
    assert model.source.folder == str(models / family)
    assert study.parallel.folder == str(segments)
    assert study.parallel.id_column == "segment"
    text = path.read_text()
    assert "architecture" not in text
    assert "6 layers of width 32, 2 heads" in text
    assert f"a vocabulary of 320 (320 in the tokenizer), BOS {FAMILIES[family]}" in text
    assert f"- SAEs: SAELens' directory has none of the residual stream of a model called {family}, so" in text


@pytest.mark.workflow
def test_a_study_is_planned_and_a_dry_run_has_its_jobs(models: Path, segments: Path):
    assert run(models / "qwen2", "--languages", *LANGUAGES, "--segments", segments) == 0
    jobs = count_jobs(Path("config", "studies", "my-qwen2.yaml"), REPOSITORY)
    assert {"fetch_model", "train_sae", "fetch_parallel", "align", "similarity", "latent_score", "selectivity"} <= {
        *jobs
    }
    assert "fetch_sae" not in jobs


@pytest.mark.workflow
@pytest.mark.parametrize("family", ["gemma3", "gpt-neox"])
def test_a_dry_run_of_other_families_on_flores(family: str, models: Path, segments: Path):
    assert run(models / family, "--languages", "en", "fr", "--name", "flores") == 0
    assert count_jobs(Path("config", "studies", "flores.yaml"), REPOSITORY)["fetch_parallel"] == 1


def test_what_could_not_be_found_is_in_comments(models: Path, segments: Path):
    assert run(models / "gemma3", "--languages", "en", "hi", "nb", "vec", "--name", "some") == 0
    text = Path("config", "studies", "some.yaml").read_text()
    assert "# - FLORES+ was not looked up, the model being in a folder: fetching sees what it lacks\n" in text
    assert "# - benchmarks: belebele has no questions in vec in lm-eval; they are left out of it\n" in text
    assert "# - benchmarks: global-mmlu has no questions in nb, vec in lm-eval; they are left out of it\n" in text
    assert yaml.safe_load(text)["latent"]["tasks"]["belebele"]["languages"] == ["en", "hi", "nb"]
    assert run(models / "gemma3", "--languages", "vec", "fur", "--name", "none") == 0
    text = Path("config", "studies", "none.yaml").read_text()
    content = yaml.safe_load(text)
    assert content["languages"] == {"reference": "vec", "high_resource": ["vec"], "medium_low_resource": ["fur"]}
    assert {"benchmarks", "latent"}.isdisjoint(content)
    assert "# - paper B (latent): no parallel questions in vec and another language; name your own\n" in text


def test_no_groups_where_all_languages_have_much_text(models: Path, segments: Path):
    write_segments(segments, ["es", "de"])
    assert run(models / "gemma3", "--languages", "es", "de", "--segments", segments, "--name", "two") == 0
    text = Path("config", "studies", "two.yaml").read_text()
    content = yaml.safe_load(text)
    assert content["languages"] == {"reference": "es", "others": ["de"]}
    assert content["models"]["gemma3"]["analyses"] == ["similarity", "benchmarks", "latent", "bilingual"]
    assert "alignment" not in content
    assert "# - languages: all have much text on the Web, so no two groups to compare\n" in text


# SAEs


@pytest.fixture
def gemma(models: Path, segments: Path) -> Path:
    """A folder that says it is Gemma 3 270M, of as many layers."""
    folder = segments.parent / "gemma-3-270m"
    tiny_model(folder, family="gemma3", layers=18)
    return folder


def test_saes_of_a_release_and_suggestions(gemma: Path, segments: Path):
    common = (gemma, "--languages", *LANGUAGES, "--segments", segments)
    release = "gemma-scope-2-270m-pt-res"
    assert run(*common) == 0
    text = Path("config", "studies", "my-gemma-3-270m.yaml").read_text()
    trained = yaml.safe_load(text)["models"]["gemma-3-270m"]
    assert "saes" not in trained
    assert trained["layers"] == [5, 9, 12, 15]
    assert f"#   saes: {{release: {release}, width: 16k, l0: medium}}\n" in text
    assert "layers 5, 9, 12, 15; widths 16k, 65k, 262k, 1m; l0 big, medium, small\n" in text
    assert run(*common, "--saes", release, "--name", "published") == 0
    content = read_file("config/studies/published.yaml")
    assert content["models"]["gemma-3-270m"]["saes"] == {"release": release, "width": "16k", "l0": "medium"}
    assert content["phrases"]["feature_stride"] == 16_384 // 512
    known = find_release(release)
    assert known is not None
    for layer in load_study(content, shape_of=kept_shape).models["gemma-3-270m"].layer_list:
        assert choose(known, layer, "16k", "medium").id == f"layer_{layer}_width_16k_l0_medium"
    assert run(*common, "--saes", f"{release}-all", "--width", "262144", "--l0", "big", "--name", "wide") == 0
    content = read_file("config/studies/wide.yaml")
    assert content["models"]["gemma-3-270m"]["saes"] == {"release": f"{release}-all", "width": 262144, "l0": "big"}
    assert content["models"]["gemma-3-270m"]["layers"] == [3, 8, 12, 17]


@pytest.mark.parametrize("release", ["gemma-scope-2b-pt-res", "llama_scope_lxr_8x", "qwen-scope-3-1.7b-base-w32k-l50"])
def test_every_suggestion_names_one_sae_a_layer(gemma: Path, release: str):
    of = released_models()[release]
    model: Any = describe_model(str(gemma))._replace(names=(of,))
    model = model._replace(shape=model.shape.model_copy(update={"layers": 32}))
    there = {one.release: one for one in suggestions(model)}
    assert release in there
    assert not [name for name in there if "temporal" in name]
    for one in there.values():
        known = find_release(one.release)
        assert known is not None
        assert known.model == of
        assert all(choose(known, layer, one.width, one.l0).layer == layer for layer in one.every_layer)
        assert set(one.layers) <= set(one.every_layer)


def test_every_release_of_the_directory_has_a_model():
    assert all(
        (release := find_release(name)) and release.model == of for name, of in [*released_models().items()][::9]
    )
    assert len(released_models()) > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--saes gemma-scope-2-270m-pt-res --width 8k", "has no width 8k at layer 5; it has 16k, 65k, 262k, 1m"),
        (
            "--saes gemma-scope-2-270m-pt-res --l0 canonical",
            "has no l0 canonical at layer 5; it has big, medium, small",
        ),
        ("--saes gemma-scope-2-270m-pt", "has no such release; did you mean gemma-scope-2-270m-"),
        ("--saes gemma-scope-2-270m-pt-mlp", "no SAE on the residual stream that width and l0 can name"),
        ("--saes gemma-scope-2b-pt-res", "SAEs of layer 25, the model has layers 0 to 17; they are of gemma-2-2b"),
        ("--width 16k", "WIDTH and L0 are of published SAEs; give SAES=RELEASE too"),
    ],
)
def test_saes_that_there_are_not(
    options: str, message: str, gemma: Path, segments: Path, capsys: pytest.CaptureFixture[str]
):
    assert message in complaint(capsys, gemma, "--languages", *LANGUAGES, "--segments", segments, *options.split())


# Bad input


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("", "MODEL is missing; give MODEL=OWNER/NAME, a repository of the Hub, or MODEL=FOLDER"),
        ("./nowhere", "MODEL=./nowhere: no such folder; correct it, or give a repository of the Hub as OWNER/NAME"),
        ("/no/where", "MODEL=/no/where: no such folder"),
        ("a/b/c", "MODEL=a/b/c: no such folder"),
        (
            "someone/model",
            "MODEL=someone/model is no folder here, and of the Hub someone/model at revision main: the Hub",
        ),
        ("so me/model", "MODEL=so me/model is no folder here, and of the Hub 'so me/model' is not the id of a"),
        ("segments", "segments: no config.json, so no transformers model; correct the source"),
    ],
)
def test_models_that_there_are_not(model: str, message: str, segments: Path, capsys: pytest.CaptureFixture[str]):
    assert message in complaint(capsys, model, "--languages", *LANGUAGES, "--segments", segments)


def test_models_without_tokenizer_or_safetensors(models: Path, segments: Path, capsys: pytest.CaptureFixture[str]):
    folder = Path("broken")
    shutil.copytree(models / "qwen2", folder)
    for path in folder.glob("*token*"):
        path.unlink()
    assert "broken: no tokenizer (tokenizer.json" in complaint(capsys, folder, "--languages", *LANGUAGES)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "isogloss loads nothing pickled" in complaint(capsys, folder, "--languages", *LANGUAGES)


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ("en jp", "LANGUAGES: unknown language 'jp'; did you mean ja?"),
        ("en pt-br", "LANGUAGES: language 'pt-br' is written pt-BR"),
        ("en es en", "LANGUAGES: en named twice; name each once"),
        ("en", 'LANGUAGES: en; give two or more, LANGUAGES="en es hi" say'),
        ("", "LANGUAGES: none; give two or more"),
        ("en es sw", "no text in sw (files {lang}.*; there are en.jsonl, es.jsonl, hi.jsonl); add it, or leave the"),
    ],
)
def test_languages(languages: str, message: str, models: Path, segments: Path, capsys: pytest.CaptureFixture[str]):
    assert message in complaint(capsys, models / "qwen2", "--languages", languages, "--segments", segments)


def test_languages_that_flores_has_no_code_of(models: Path, segments: Path, capsys: pytest.CaptureFixture[str]):
    said = complaint(capsys, models / "qwen2", "--languages", "en", "de-AT")
    assert "LANGUAGES: FLORES+ has no de-AT; give a corpus that does (SEGMENTS=FOLDER), or leave" in said


def test_corpora_that_there_are_not(models: Path, segments: Path, capsys: pytest.CaptureFixture[str]):
    common = (models / "qwen2", "--languages", *LANGUAGES, "--segments")
    assert "SEGMENTS=./none: no such folder" in complaint(capsys, *common, "./none")
    assert "SEGMENTS=who/what is no folder here, and of the Hub" in complaint(capsys, *common, "who/what")
    (segments / "en.jsonl").write_text('{"id": 1, "phrase": "x"}\n')
    assert "en.jsonl has no column text or sentence or" in complaint(capsys, *common, segments)
    (segments / "en.jsonl").write_text("")
    assert "en.jsonl: empty; fetch it again" in complaint(capsys, *common, segments)
    (segments / "en.jsonl").write_text("[1]\n")
    assert "en.jsonl:1: " in complaint(capsys, *common, segments)


def test_names(models: Path, segments: Path, capsys: pytest.CaptureFixture[str]):
    common = (models / "qwen2", "--languages", *LANGUAGES, "--segments", segments)
    assert "NAME=My study: small Latin letters, digits and - alone; write my-study" in complaint(
        capsys, *common, "--name", "My study"
    )
    path = Path("config", "studies", "mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text("study: mine\n")
    assert f"{path}: there already, and left as it is; give another" in complaint(capsys, *common, "--name", "mine")
    assert path.read_text() == "study: mine\n"


# Layouts of parallel text


@pytest.mark.parametrize(
    ("layout", "keys"),
    [
        ("{lang}.tsv", {}),
        ("{lang}.parquet", {"document_column": "url"}),
        ("Tatoeba.en-hi.{lang}", {"files": "*.{lang}", "id_column": None}),
        ("dev/{flores}.dev", {"files": "dev/{flores}.*", "id_column": None}),
        ("table.csv", {"files": "table.csv", "text_column": "{lang}"}),
    ],
)
def test_the_layout_is_seen_by_the_files(layout: str, keys: dict[str, Any], models: Path, segments: Path):
    folder = Path("corpus").absolute()
    flores = {"en": "eng_Latn", "es": "spa_Latn", "hi": "hin_Deva"}
    for lang in LANGUAGES:
        path = folder / layout.format(lang=lang, flores=flores[lang])
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {"id": ["1", "2"], "text": ["a", "b"]}
        if path.suffix == ".parquet":
            pl.DataFrame(rows | {"url": ["u", "u"]}).write_parquet(path)
        elif path.suffix == ".tsv":
            pl.DataFrame(rows).write_csv(path, separator="\t")
        elif path.suffix == ".csv":
            pl.DataFrame({"id": ["1", "2"]} | {lang: ["a", "b"] for lang in LANGUAGES}).write_csv(path)
        else:
            path.write_text("a\nb\n")
    assert run(models / "qwen2", "--languages", *LANGUAGES, "--segments", folder, "--name", "seen") == 0
    assert read_file("config/studies/seen.yaml")["parallel"] == {"folder": str(folder), **keys}


# The Hub


def cli(url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"HF_ENDPOINT": url, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}
    environment |= {"PYTHONPATH": str(REPOSITORY / "workflow" / "scripts"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"no_proxy": "127.0.0.1"}
    settings = [sys.executable, "-m", "isogloss.new_study", *arguments, "--languages", "en es hi"]
    return subprocess.run(settings, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.workflow
def test_a_repository_is_pinned_and_flores_looked_up(models: Path, tmp_path: Path):
    with server.serving() as hub:
        commit = hub.add("someone/tiny-qwen", models / "qwen2")
        flores = tmp_path / "flores"
        for name in ("eng_Latn", "spa_Latn"):
            (flores / "dev").mkdir(parents=True, exist_ok=True)
            (flores / "dev" / f"{name}.parquet").write_bytes(b"")
        hub.add("openlanguagedata/flores_plus", flores, "datasets")
        lacking = cli(hub.url, tmp_path, "someone/tiny-qwen")
        assert lacking.returncode == 1
        assert (
            "isogloss: FLORES+: no text in hi (files dev/{flores}.*; there are dev/eng_Latn.parquet," in lacking.stderr
        )
        (flores / "dev" / "hin_Deva.parquet").write_bytes(b"")
        corpus = hub.add("openlanguagedata/flores_plus", flores, "datasets")
        made = cli(hub.url, tmp_path, "someone/tiny-qwen")
        assert made.returncode == 0, made.stderr
        assert not hub.gets("model.safetensors")
        written = tmp_path / "config" / "studies" / "my-tiny-qwen.yaml"
        assert "FLORES+ is meant for evaluation alone" in written.read_text(encoding="utf-8")
        content = read_file(written)
        assert content["models"]["tiny-qwen"]["source"] == {"id": "someone/tiny-qwen", "revision": commit}
        assert content["parallel"]["revision"] == corpus
        hub.gated.add("models/someone/tiny-qwen")
        shutil.rmtree(tmp_path / "cache")
        gated = cli(hub.url, tmp_path, "someone/tiny-qwen", "--name", "gated")
        assert gated.returncode == 1
        assert "gated; accept its licence at" in gated.stderr.splitlines()[-1]
        assert "`hf auth login`" in gated.stderr.splitlines()[-1]


# Small parts


def test_the_study_in_the_readme_is_whole_in_fifteen_lines(gemma: Path):
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    text = page.partition("```yaml\n")[2].partition("```")[0]
    assert len(text.splitlines()) <= 15
    shape = describe_model(str(gemma)).shape.model_copy(update={"layers": 28})
    study = load_study(yaml.safe_load(text), shape_of=lambda _: shape)
    assert study.parallel_provider == "corpus"


def test_sizes_fit_the_model(gemma: Path):
    model: DescribedModel = describe_model(str(gemma))
    for width, features in {16: 128, 640: 4096, 1024: 8192, 1536: 8192, 2048: 16_384, 8192: 16_384}.items():
        recipe = model._replace(shape=model.shape.model_copy(update={"d_model": width})).recipe
        assert recipe["features"] == features
    for depth, layers in {1: [0], 3: [0, 1, 2], 18: [3, 8, 12, 17], 28: [6, 13, 20, 27]}.items():
        assert model._replace(shape=model.shape.model_copy(update={"layers": depth})).depths == layers
    assert list(map(stride, (64, 4096, 16_384))) == [1, 8, 32]


def test_the_parameters_are_about_those_of_the_model(models: Path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models / "gemma3")
    assert abs(describe_model(str(models / "gemma3")).parameters / model.num_parameters() - 1) < 0.1


def test_a_comment_is_one_line_whatever_is_in_it():
    odd = comment("  a\nmodels: {}\u2028b\x85c\x00", indent=2)
    assert len(odd.splitlines()) == 1
    assert yaml.safe_load(odd) is None
