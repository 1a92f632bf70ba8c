import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from isogloss.config import REMOVED, Study, load_study, schema
from isogloss.config.base import Name, Section, known_language
from isogloss.config.measures import Languages
from isogloss.config.model import AnalysedModel, Shape
from isogloss.config.questions import TaskName
from isogloss.config.texts import StudyTexts
from isogloss.errors import IsoglossError

REPOSITORY = Path(__file__).parents[1]
DEFAULT = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8"))
SHAPE = Shape(layers=28, d_model=1024, d_mlp=3072, heads=16, key_value_heads=8, d_head=128, vocabulary=151936)
STUDIES = sorted((REPOSITORY / "config" / "studies").glob("*.yaml"))
GEMMA = yaml.safe_load((REPOSITORY / "config" / "studies" / "disparity-gemma-2-2b.yaml").read_text(encoding="utf-8"))


def changed(path: str, value: Any, study: dict[str, Any] = DEFAULT) -> dict[str, Any]:
    config = deepcopy(study)
    *parents, last = path.split(".")
    node = config
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return config


def test_the_default_is_valid_and_languages_have_one_order():
    study = load_study(DEFAULT)
    assert study.languages.all == ["en", "zh", "ru", "es", "it", "id", "ca", "mr", "ml", "hi"]
    assert load_study(study.model_dump(mode="json")) == study


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("languages.high_resource", ["en", "xx"], r"languages\.high_resource: unknown language 'xx'; codes are BCP 47"),
        ("languages.high_resource", ["en", "zh", "en"], r"languages\.high_resource: named twice: en"),
        ("languages.high_resource", ["en", "hi"], r"languages: in both groups: hi"),
        ("languages.high_resource", ["zh"], r"reference 'en' must be one of high_resource"),
        ("languages.high_resource", [], r"languages: give high_resource and medium_low_resource, or others"),
        ("languages.others", ["ja"], r"languages: others beside groups; give others, or high_resource and"),
        ("languages", {"others": ["ja", "en"]}, r"languages: others: en is the reference; leave it out there"),
        (
            "languages",
            {"others": ["zh"]},
            r"languages\.others: models\.skewed has the analysis gap, which compares",
        ),
        (
            "world.repeats",
            {"statement": 1},
            r"bilingual 0\.8 of the tokens, but repeats\.bilingual 0; give it 1 or more",
        ),
        (
            "models.skewed.shares",
            {"en": 0.64, **dict.fromkeys(["zh", "ru", "es", "it", "id", "ca", "mr", "ml", "hi"], 0.04)},
            r"models\.skewed\.shares: en 0\.64, but where world\.bilingual 0\.8 of the tokens .* more than 0\.6; lower",
        ),
        ("models.skewed.shares.en", 0.5, r"models\.skewed\.shares: shares sum to 1\.25; they must sum to 1"),
        ("models.skewed.shares.en", -0.1, r"share of en is -0\.1; allowed: above 0 and below 1"),
        ("models.skewed.layers", [0, 9], r"models\.skewed: layers \[9\]: the model has layers 0 to 3"),
        ("models.skewed.layers", [], r"models\.skewed: layers \[\]: the model has layers 0 to 3"),
        (
            "models.skewed.architecture.key_value_heads",
            3,
            r"models\.skewed\.architecture: heads 4 is no multiple of key_value_heads 3, .*; correct one of them",
        ),
        ("models.skewed.architecture.heads", 6, r"architecture: d_model 128 is no multiple of heads 6; correct one"),
        ("models.skewed.architecture.d_head", 15, r"models\.skewed\.architecture: d_head 15 is odd; .*even one"),
        ("models.skewed.sae", {"k": 99, "features": 50}, r"k is 99 but there are only 50 features"),
        ("models.world", DEFAULT["models"]["equal"], r"models\.world: this name is taken"),
        ("phrases.threshold", 1.2, r"phrases\.threshold: Input should be less than or equal to 1 \(got 1\.2\)"),
        ("phrases.treshold", 0.5, r"phrases\.treshold: unknown key; see config/README\.md"),
        (
            "gap.variant",
            "both",
            r"gap\.variant: Input should be 'with_reference' or 'without_reference' \(got 'both'\)",
        ),
        ("alignment.runs.all-l2.target_layer", 7, r"models\.skewed has no analysed layer 7; allowed: 0, 1, 2, 3"),
        ("alignment.runs.all-l2.languages", ["en"], r"the reference en cannot be aligned to itself"),
        ("alignment.runs.ml-l0.tuned_layers", [2], r"tuned_layers \[2\]: only layers 0 to target_layer 0"),
        ("alignment.runs.ml-l0.inactive", "off", r"ml-l0\.inactive: .*'pre_activation', 'straight_through' or 'none'"),
        ("alignment.held_out_features", -1, r"alignment\.held_out_features: .*greater than or equal to 0"),
        ("alignment.runs.base", {"target_layer": 0, "languages": ["hi"]}, r"'base' means the model without"),
        (
            "benchmarks.tasks.triviaqa",
            {"shots": 1},
            r"benchmarks\.tasks\.triviaqa\.lm_eval: arc, hellaswag, mmlu are Okapi.s, any other",
        ),
    ],
)
def test_each_mistake_is_named_with_its_key_and_what_is_allowed(path: str, value: Any, message: str):
    with pytest.raises(IsoglossError, match=message):
        load_study(changed(path, value))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_are_valid_and_named_like_their_files(path: Path):
    study = load_study(yaml.safe_load(path.read_text(encoding="utf-8")), shape_of=lambda _: SHAPE)
    assert study.study == path.stem.replace(".", "-")  # a study's name has no dot
    assert load_study(study.model_dump(mode="json")) == study


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("models.gemma-2-2b.kind", "hub", r"models\.gemma-2-2b: kind must be toy or pretrained"),
        ("models.gemma-2-2b.source", {}, r"models\.gemma-2-2b\.source: neither id nor folder; give"),
        (
            "models.gemma-2-2b.saes",
            {"release": "gemma-scope-2b-pt-res", "ids": {0: "a", 1: "b"}},
            r"saes\.ids: no SAE for layer 2, 3, .*; add its id",
        ),
        ("models.gemma-2-2b.saes.ids", "layer_{layer}", "width and l0 choose nothing; give the one or the other"),
        ("models.gemma-2-2b.saes.source", None, None),
        ("models.gemma-2-2b.layers", [0, 26], r"layers \[26\]: the model has layers 0 to 25"),
        ("models.gemma-2-2b.shares", {"en": 1}, r"models\.gemma-2-2b\.shares: unknown key"),
        (
            "translation.backend",
            "parallel",
            r"translation\.backend: parallel looks up segments of a parallel corpus, phrases",
        ),
        ("translation.models", {"hi": {"source": {"id": "a/b"}}}, r"translation\.models: no model for zh, ru, es"),
        (
            "translation",
            {"backend": "opus-mt", "minimum_chrf": 30},
            r"translation: minimum_chrf needs back_models",
        ),
        ("translation.models.xx", {"source": {"id": "a/b"}}, r"translation\.models: unknown language 'xx'"),
        ("benchmarks.sources", {}, r"benchmarks\.sources: none for arc"),
    ],
)
def test_mistakes_about_what_is_fetched(path: str, value: Any, message: str | None):
    config = changed(path, value, GEMMA)
    if message is None:
        load_study(config)
    else:
        with pytest.raises(IsoglossError, match=message):
            load_study(config)


def test_a_key_that_was_removed_is_told_from_one_that_never_was(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(REMOVED, "models.NAME.sae.width", "write models.NAME.sae.features")
    config = changed("models.skewed.sae.width", 512)
    config["models"]["equal"]["width"] = 512
    with pytest.raises(IsoglossError) as caught:
        load_study(config)
    assert "models.skewed.sae.width: no longer a key; write models.NAME.sae.features" in str(caught.value)
    assert "models.equal.width: unknown key; see config/README.md" in str(caught.value)


def test_all_mistakes_come_at_once():
    config = changed("phrases.threshold", 0)
    config["models"]["skewed"]["shares"]["en"] = 0.9
    config["models"]["equal"]["shares"] = {"en": 1.5}
    config["nonsense"] = 1
    with pytest.raises(IsoglossError, match=r"4 mistake\(s\)") as caught:
        load_study(config)
    assert len(str(caught.value).splitlines()) == 5


def test_a_language_that_the_world_lacks():
    config = changed("world.languages", ["en", "zh"])
    with pytest.raises(
        IsoglossError, match=r"languages: ru, es, it, id, ca, mr, ml, hi not in world\.languages \(en, zh\)"
    ):
        load_study(config)


def test_languages_that_the_world_lacks_come_with_advice_that_leads_somewhere():
    advice = "without templates in gl, leave out"
    with pytest.raises(
        IsoglossError, match=rf"languages: gl not in world\.languages \(en, zh, .*\); {advice}"
    ) as caught:
        load_study(changed("languages.medium_low_resource", ["mr", "ml", "hi", "id", "ca", "gl"]))
    assert len(str(caught.value).splitlines()) == 2
    config = changed("world.languages", ["en", "zh"])
    config["latent"]["tasks"]["hellaswag"]["languages"] = ["en", "hi"]
    with pytest.raises(IsoglossError) as caught:
        load_study(config)
    said = "hellaswag.languages: hi not in world.languages (en, zh); add there, or leave out"
    assert said in str(caught.value)


def test_a_language_without_a_flores_code_in_a_corpus_that_is_named_by_them():
    config = yaml.safe_load((REPOSITORY / "config" / "studies" / "latent-process.yaml").read_text(encoding="utf-8"))
    config["languages"] = {"others": ["ku", "pt-PT", "sw"]}
    config["parallel"] = {"folder": "corpus", "files": "{flores}.tsv"}
    config["latent"]["tasks"] = {"hellaswag": {"source": {"folder": "questions"}}}
    with pytest.raises(
        IsoglossError, match=r"parallel: no FLORES-200 code of ku, pt-PT for \{flores\}; write \{lang\}"
    ):
        load_study(config)


def test_a_study_whose_analyses_compare_no_groups_needs_none():
    config = changed("languages", {"reference": "en", "others": ["hi", "zh"]})
    for model in config["models"].values():
        model["analyses"] = ["similarity", "benchmarks", "latent", "bilingual"]
    config["alignment"]["runs"] = {}
    del config["bilingual"]["languages"]
    study = load_study(config)
    assert study.languages.all == ["en", "zh", "hi"]
    assert study.bilingual_languages == ["en", "zh"]


def test_languages_without_an_instruction_are_asked_in_cloze():
    config = yaml.safe_load((REPOSITORY / "config" / "studies" / "latent-process.yaml").read_text(encoding="utf-8"))
    config["languages"] = {"reference": "sw", "others": ["gl", "en"]}
    config["latent"]["tasks"] = {"hellaswag": {"source": {"folder": "questions"}}}
    message = r"hellaswag\.prompt: no instruction in {} for letters; set cloze, or add it to resources/prompts\.yaml"
    with pytest.raises(IsoglossError, match=message.format("sw")):
        load_study(config)
    config["latent"]["instruction"] = "native"
    with pytest.raises(IsoglossError, match=message.format("sw, gl")):
        load_study(config)
    config["latent"]["tasks"]["hellaswag"]["prompt"] = "cloze"
    assert load_study(config).latent_languages("hellaswag") == ["en", "sw", "gl"]


def test_numbers_are_all_fields_but_those_of_batches_jobs_and_saved_states():
    study = load_study(DEFAULT)
    expected = study.model_dump(mode="json")
    for key in ("token_budget", "layers_per_job", "tasks_per_job", "languages_per_job", "gpus_per_job", "kernels"):
        del expected["compute"][key]
    for section in (expected["alignment"], expected["bilingual"]):
        del section["resume_every"]
    for model in expected["models"].values():
        del model["training"]["resume_every"]
    del expected["bilingual"]["layers_per_job"]
    assert study.numbers() == expected
    assert study.compute.numbers() == {"dtype": "float32"}
    for path in STUDIES:
        study = load_study(yaml.safe_load(path.read_text(encoding="utf-8")), shape_of=lambda _: SHAPE)
        for model, numbers in zip(study.models.values(), study.numbers()["models"].values(), strict=True):
            expected = model.model_dump(mode="json")
            expected.get("training", {}).pop("resume_every", None)
            assert numbers == expected  # sections by step and by name


def test_a_part_of_a_section_holds_nothing_else():
    part = load_study(DEFAULT).statistics.only("bootstrap", "confidence")
    assert part.numbers() == {"bootstrap": 1000, "confidence": 0.95}
    assert pickle.loads(pickle.dumps(part)) == part
    with pytest.raises(AttributeError, match="correction"):
        assert part.correction
    alignment = load_study(DEFAULT).alignment
    assert alignment.without("runs").numbers().keys() == alignment.numbers().keys() - {"runs"}


def test_the_study_of_paper_a_runs_the_loss_as_printed_beside_the_default():
    runs = load_study(GEMMA).alignment.runs
    printed, default = runs["all-l20-as-printed"], runs["all-l20"]
    assert (printed.inactive, default.inactive) == ("none", None)
    assert (printed.target_layer, printed.languages) == (default.target_layer, default.languages)


def test_schema_and_key_reference_are_up_to_date():
    hint = "run `make schema`"
    assert schema.SCHEMA.read_text(encoding="utf-8") == schema.json_schema(), hint
    text = schema.REFERENCE.read_text(encoding="utf-8")
    assert text == schema.documented(text), hint


def test_every_key_has_a_meaning():
    undocumented = [
        row
        for row in schema.key_reference().splitlines()[2:]
        if row.rstrip(" |").endswith("|") or not row.split("|")[4].strip()
    ]
    assert not undocumented


def test_sections_that_travel_to_jobs_compute_nothing():
    """A property would be code that a number depends on and that no digest of a script reaches."""

    def below(kind: type[Section]) -> list[type[Section]]:
        return [kind, *(inner for part in kind.__subclasses__() for inner in below(part))]

    at_home = {
        Section,
        Study,
        StudyTexts,
        Languages,
        *below(AnalysedModel),
    }  # only rules ask these, but for Languages' fields
    travelling = set(below(Section)) - at_home
    assert len(travelling) > 15
    assert not [kind for kind in travelling if any(isinstance(value, property) for value in vars(kind).values())]
    stages = (REPOSITORY / "workflow" / "scripts" / "isogloss").rglob("*.py")
    texts = [path.read_text(encoding="utf-8") for path in stages if not {"config", "plan"} & set(path.parts)]
    assert not [text for text in texts if "languages.all" in text]


OF_EVERY_OBJECT = (
    *("constructor", "__proto__", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString"),
    *("toString", "valueOf", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"),
)


@pytest.mark.parametrize("name", OF_EVERY_OBJECT)
def test_no_name_is_one_that_every_object_of_javascript_has(name: str):
    """Charts would find it where there is nothing of that name; languages have no such code, layers are numbers."""
    for kind in (Name, TaskName):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(name)
    with pytest.raises((IsoglossError, ValueError)):
        known_language(name)
