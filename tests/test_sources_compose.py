"""Model, SAEs, phrases, text and translation of a study are each chosen on their own."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import AutoConfig

from isogloss.config import load_study
from isogloss.config.bilingual import TranslationTest
from isogloss.config.folders import files_of, require_folders
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.models.checkpoints import locate
from isogloss.sources.shapes import KEPT, kept_shape
from standins import FAMILIES, tiny_model

SHAPE = {"layers": 2, "d_model": 32, "d_mlp": 64, "heads": 2, "key_value_heads": 1, "d_head": 16, "vocabulary": 320}
FETCHED = {"title": "Fetched", "source": {"id": "OWNER/NAME"}, "architecture": SHAPE}
TOY = {"title": "Toy", "shares": {"en": 0.6, "es": 0.4}}
RECIPE = {"features": 64, "k": 8}
SAES = {"source": {"id": "OWNER/SAES"}, "ids": {"0": "layer_0", "1": "layer_1"}, "features": 64}
EXPORTS = {"saes": SAES, "neuronpedia": {"model": "fetched"}}
FILES = {"en": {"id": "OWNER/TEXT"}, "es": {"id": "OWNER/TEXT"}}
CORPUS = {"id": "OWNER/PARALLEL"}
OPUS = {"backend": "opus-mt", "models": {"es": {"source": {"id": "Helsinki-NLP/opus-mt-en-es"}}}}
PAPER_A = ["similarity", "gap", "alignment"]


def study(model: dict[str, Any], *, analyses: list[str] = PAPER_A, **more: Any) -> dict[str, Any]:
    return {
        "study": "composed",
        "languages": {"reference": "en", "high_resource": ["en"], "medium_low_resource": ["es"]},
        "world": {"languages": ["en", "es"]},
        "models": {"one": {"analyses": analyses, **model}},
        **more,
    }


# --- What is chosen --------------------------------------------------------------------------------


@pytest.mark.parametrize("documents", [None, "world", FILES])
@pytest.mark.parametrize("parallel", [None, "world", CORPUS])
@pytest.mark.parametrize(("origin", "saes"), [("toy", "trained"), ("fetched", "trained"), ("fetched", "published")])
def test_every_source_goes_with_every_other(origin: str, saes: str, parallel: Any, documents: Any) -> None:
    model = TOY if origin == "toy" else FETCHED | ({"sae": RECIPE} if saes == "trained" else {"saes": SAES})
    texts = {name: value for name, value in (("documents", documents), ("parallel", parallel)) if value is not None}
    config = study(model, **texts)
    anywhere = origin == "toy" or parallel is not None or documents == "world"
    if not anywhere or (documents == FILES and parallel is None):
        with pytest.raises(IsoglossError, match=r"documents: none, which phrases|parallel looks up segments"):
            load_study(config)
        config |= {"translation": OPUS}
        if not anywhere and documents is None:
            return
    made = load_study(config)
    expected = {"world": "world", None: None}.get(parallel if isinstance(parallel, str | None) else "", "corpus")
    if parallel is None:
        expected = "world" if documents == "world" or (origin == "toy" and documents is None) else None
    assert made.parallel_provider == expected
    assert made.documents_provider == ("files" if documents == FILES else documents or expected)
    assert made.searched("one")
    assert made.trains_saes("one") == (saes == "trained")
    assert made.traits("one") == (["taught"] if origin == "toy" else []) + (["trained_saes"] * (saes == "trained"))


def test_phrases_come_from_exports_where_there_are_some() -> None:
    made = load_study(study(FETCHED | EXPORTS, translation=OPUS))
    assert not made.searched("one")
    assert made.traits("one") == ["exports"]
    assert made.documents_provider is None


def test_phrases_are_segments_where_translations_are_looked_up() -> None:
    texts = {"documents": FILES, "parallel": CORPUS}
    model = FETCHED | {"sae": RECIPE}
    assert load_study(study(model, **texts)).phrase_provider == "corpus"
    assert load_study(study(model, **texts, translation=OPUS)).phrase_provider == "files"
    assert (
        load_study(study(model, **texts, translation=OPUS, phrases={"texts": "segments"})).phrase_provider == "corpus"
    )


def test_segments_are_phrases_only_where_there_are_some() -> None:
    one = {"phrases": {"unit": "segment"}}
    model = FETCHED | {"sae": RECIPE}
    assert load_study(study(model, parallel=CORPUS, **one)).phrases.unit == "segment"
    with pytest.raises(IsoglossError, match=r"phrases\.unit: phrases of models\.one come from documents, which have"):
        load_study(study(model, documents=FILES, parallel=CORPUS, translation=OPUS, **one))
    with pytest.raises(IsoglossError, match=r"phrases\.unit: .* exports, .*; set window, or give parallel text and no"):
        load_study(study(FETCHED | EXPORTS, translation=OPUS, **one))


def test_saes_see_each_language_of_which_there_are_documents_alike() -> None:
    model = FETCHED | {"sae": RECIPE}
    assert load_study(study(model, parallel=CORPUS)).sae_shares("one") == {"en": 0.5, "es": 0.5}
    spanish = load_study(study(model, documents={"es": FILES["es"]}, parallel=CORPUS))
    assert spanish.sae_shares("one") == {"es": 1}
    assert load_study(study(TOY)).sae_shares("one") == TOY["shares"]


def test_paper_c_needs_no_unfinished_checkpoint() -> None:
    finished = load_study(study(FETCHED | {"sae": RECIPE}, analyses=["bilingual"], parallel=CORPUS))
    assert finished.models["one"].checkpoint_list == ["final"]
    assert not finished.injects("one")
    published = load_study(study(FETCHED | {"saes": SAES}, analyses=["bilingual"], parallel=CORPUS))
    assert published.models["one"].checkpoint_path("final") == "lm"
    steps = {"checkpoints": {"10": {"id": "A/B"}, "20": {"id": "A/B"}}, "sae": RECIPE}
    unfinished = load_study(study(FETCHED | steps, analyses=["bilingual"], parallel=CORPUS))
    assert unfinished.injects("one")
    assert unfinished.traits("one") == ["checkpoints", "injected"]
    assert unfinished.models["one"].checkpoint_path("step10") == "checkpoints/step10"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (study(FETCHED, parallel=CORPUS), r"need SAEs; give published ones \(saes\) or how to train some here \(sae\)"),
        (
            study(FETCHED | {"sae": RECIPE, "neuronpedia": {"model": "x"}}),
            "neuronpedia has the activations of published",
        ),
        (
            study(FETCHED | {"sae": RECIPE}),
            "documents: none, which phrases of models.one need; give some, or a parallel corpus",
        ),
        (study(FETCHED | EXPORTS), r"phrases of models.one come from exports; set a machine translation"),
        (
            study(FETCHED | {"sae": RECIPE}, documents=FILES),
            "phrases of models.one come from documents; set a machine translation .*, or give parallel text and",
        ),
        (
            study(FETCHED | {"sae": RECIPE}, documents={"es": FILES["es"]}, translation=OPUS),
            "documents: none in en, the language of the phrases; add, or change phrases.language",
        ),
        (
            study(FETCHED | {"sae": RECIPE}, parallel=CORPUS, phrases={"language": "es"}),
            "alignment of models.one needs phrases in the reference en, not in es",
        ),
        (study(FETCHED, analyses=["bilingual"], parallel=CORPUS), "bilingual needs SAEs; give sae"),
        (
            study(FETCHED | {"saes": SAES, "checkpoints": {"1": {"id": "A/B"}}}, analyses=["bilingual"]),
            "bilingual needs an SAE a checkpoint and layer; give sae",
        ),
        (
            study(
                FETCHED | {"sae": RECIPE},
                analyses=["bilingual"],
                parallel=CORPUS,
                bilingual={"intervention": {"step": 3}},
            ),
            "models.one has no unfinished checkpoint step3; allowed: none, .* or set bilingual.intervention to null",
        ),
        (
            study(FETCHED | {"sae": RECIPE}, analyses=["bilingual"]),
            "documents: none, which features of models.one need; give some",
        ),
        (
            study(TOY, bilingual={"documents": FILES}),
            "bilingual.documents: no longer a key; documents, at the top level",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(config: dict[str, Any], message: str) -> None:
    with pytest.raises(IsoglossError, match=message) as raised:
        load_study(config)
    assert str(raised.value).startswith("1 mistake(s)")


def test_questions_of_the_toy_world_go_with_any_model() -> None:
    questions = {
        "benchmarks": {"tasks": {"arc": {"shots": 1}}, "sources": {"arc": "world"}},
        "latent": {"tasks": {"hellaswag": {"source": "world", "prompt": "cloze"}}},
    }
    made = load_study(study(FETCHED, analyses=["benchmarks", "latent"], **questions))
    assert made.benchmark_of_world("one", "arc")
    assert made.of_world("one", "hellaswag")
    assert made.traits("one") == []  # nobody taught it the facts
    questions["latent"]["tasks"]["hellaswag"]["data"] = "belebele"
    with pytest.raises(IsoglossError, match="the toy world has questions in HellaSwag's layout, not"):
        load_study(study(FETCHED, analyses=["latent"], **questions))


# --- The shape of a model ---------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shape_is_read_from_the_models_own_config(family: str, elsewhere: Path) -> None:
    lm = tiny_model(elsewhere / "lm", family=family, layers=3)
    shape = kept_shape(Source(folder=str(lm)))
    text = AutoConfig.from_pretrained(lm).get_text_config()
    assert (shape.layers, shape.d_model, shape.vocabulary) == (3, text.hidden_size, text.vocab_size)
    assert shape.heads == text.num_attention_heads
    assert shape.d_mlp == text.intermediate_size


def test_a_study_needs_no_architecture(elsewhere: Path) -> None:
    lm = tiny_model(elsewhere / "lm", family="gemma2", layers=3)
    model = {"title": "Found", "source": {"folder": str(lm)}, "sae": RECIPE}
    made = load_study(study(model, parallel=CORPUS), shape_of=kept_shape)
    assert made.models["one"].layer_list == [0, 1, 2]
    with pytest.raises(IsoglossError, match=r"architecture: not given, and no config\.json to read it from"):
        load_study(study(model, parallel=CORPUS))


def test_a_job_reads_what_the_planning_process_kept(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model(elsewhere / "lm", family="gemma2", layers=3)
    source = Source(folder=str(lm))
    with pytest.raises(IsoglossError, match="nothing kept of it; run snakemake in this folder again"):
        kept_shape(source, fetch=False)
    shape = kept_shape(source)
    monkeypatch.setattr("isogloss.sources.shapes._read", never)
    assert kept_shape(source, fetch=False) == shape
    assert len(json.loads(KEPT.read_text())) == 1


def test_an_exchanged_model_is_read_again(elsewhere: Path) -> None:
    lm = tiny_model(elsewhere / "lm", family="gemma2", layers=3)
    source = Source(folder=str(lm))
    assert kept_shape(source).layers == 3
    config = lm / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 2, "layer_types": None}))
    os.utime(config, (1, 1))
    assert kept_shape(source).layers == 2


def never(*_: Any) -> Any:
    raise AssertionError("read again")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lm: (lm / "config.json").unlink(), "models.one.architecture: not given, .*no config.json"),
        (lambda lm: (lm / "config.json").write_text("{"), "config.json describes no decoder that transformers knows"),
        (lambda lm: lm.rename(lm.with_name("away")), "no such folder; correct `folder`"),
    ],
)
def test_a_model_whose_shape_cannot_be_read(elsewhere: Path, spoil: Callable[[Path], Any], message: str) -> None:
    lm = tiny_model(elsewhere / "lm", family="gemma2")
    spoil(lm)
    with pytest.raises(IsoglossError, match=message) as raised:
        load_study(study({"title": "x", "source": {"folder": str(lm)}, "sae": RECIPE}), shape_of=kept_shape)
    assert "\n" not in str(raised.value)


def test_the_finished_model_alone_is_a_checkpoint(tmp_path: Path) -> None:
    lm = tiny_model(tmp_path / "lm", family="gemma2")
    assert locate(str(lm), "final") == (str(lm), 0)


# --- Folders ----------------------------------------------------------------------------------------


def test_folders_that_are_not_there_are_named_before_anything_runs(tmp_path: Path) -> None:
    there = str(tmp_path)
    model = FETCHED | {"source": {"folder": "nowhere/lm"}, "sae": RECIPE}
    texts = {"documents": {"en": {"folder": there}, "es": {"folder": "nowhere/es"}}, "parallel": {"folder": there}}
    with pytest.raises(IsoglossError) as raised:
        require_folders(load_study(study(model, **texts)))
    assert str(raised.value).splitlines() == [
        "2 folder(s) of the configuration are not there or cannot be used",
        "  models.one.source.folder: nowhere/lm: no such folder; correct it",
        "  documents.es.folder: nowhere/es: no such folder; correct it",
    ]
    require_folders(load_study(study(FETCHED | {"sae": RECIPE}, parallel={"folder": there})))


def test_a_folder_without_its_comet_model_is_named_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "hparams.yaml").touch()
    translations = TranslationTest(comet=str(tmp_path))
    with pytest.raises(IsoglossError, match=r"comet: .*: no checkpoints/model.ckpt in this folder; correct it"):
        require_folders(translations)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/model.ckpt").touch()
    require_folders(translations)


def test_the_files_of_a_local_source_are_those_that_a_change_must_be_seen_of(tmp_path: Path) -> None:
    for name in ("a.jsonl", "dev/x/hi.txt", "dev/y/hi.txt", "deep/one/two/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = str(tmp_path)
    assert files_of(None, "*") == []
    assert files_of(folder, "*") == [f"{folder}/a.jsonl"]
    assert files_of(folder, "dev/*/*", "*") == [f"{folder}/a.jsonl", f"{folder}/dev/x/hi.txt", f"{folder}/dev/y/hi.txt"]
    assert files_of(folder, "deep/**/*") == [f"{folder}/deep/one/two/b"]
    require_folders(Source(folder=folder))
    (tmp_path / "notes {draft}.md").touch()
    with pytest.raises(IsoglossError, match=r"notes \{draft\}.md: the name holds \{, .*; correct it"):
        require_folders(Source(folder=folder))
    (tmp_path / "dev/x/a {draft}.txt").touch()
    with pytest.raises(
        IsoglossError, match=r"a \{draft\}.txt: the name holds \{, which Snakemake takes for a wildcard"
    ):
        files_of(folder, "dev/*/*")


def test_a_home_is_written_out_and_braces_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Source(folder="~/corpus").folder == str(tmp_path / "corpus")
    assert Source(folder="./~corpus/").folder == "./~corpus/"
    with pytest.raises(ValidationError, match=r"'a/\{model\}' holds \{, which Snakemake takes for a wildcard"):
        Source(folder="a/{model}")
