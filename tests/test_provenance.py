"""Which edit of the code runs which rules again: all digests, made in a copy of the code before and after each edit."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from isogloss import provenance
from isogloss.report import catalogue

REPOSITORY = Path(__file__).parents[1]
UNTOUCHED: dict[str, str] = {}  # the digests of all stages and figures before any edit
REPORT = {"figure", "html_table", "report", "summary"}  # stages that draw, typeset, write and assemble


class Copy:
    """A copy of scripts, package and resources that digests are made of."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        shutil.copytree(REPOSITORY / "workflow" / "scripts", folder / "workflow" / "scripts")
        shutil.copytree(REPOSITORY / "resources", folder / "resources")
        self.package, self.resources = folder / "workflow" / "scripts" / "isogloss", folder / "resources"
        patch.setattr(provenance, "PACKAGE", self.package)
        patch.setattr(provenance, "SCRIPTS", self.package.parent)
        patch.setattr(provenance, "RESOURCES", self.resources)
        if not UNTOUCHED:  # which no folder changes
            UNTOUCHED.update(self.digests())
        self.before = UNTOUCHED

    def digests(self) -> dict[str, str]:
        stages = {script.stem: provenance.code_digest(script.stem) for script in self.package.parent.glob("*.py")}
        drawings = {entry.drawing: f"figure {name}" for name, entry in catalogue.FIGURES.items()}
        return stages | {label: provenance.code_digest("figure", drawing) for drawing, label in drawings.items()}

    def changed(self) -> set[str]:
        """The stages, and figures, whose digests are not what they were before the edits."""
        after = self.digests()
        return {label for label, digest in self.before.items() if after[label] != digest}

    def replace(self, path: str, old: str, new: str) -> None:
        file = self.package / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    def edit(self, path: str, *names: str) -> None:
        """Put a statement into functions of a module: those that are named, or all."""
        file = self.package / path
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        chosen = [node for node in functions if not names or node.name in names]
        assert chosen, f"{path} has none of {names}"
        for node in chosen:
            node.body.insert(len(node.body) - 1, ast.parse("_edited = 1").body[0])
        file.write_text(ast.unparse(tree), encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    return Copy(tmp_path, monkeypatch)


def figures(changed: set[str]) -> set[str]:
    return {label.removeprefix("figure ") for label in changed if label.startswith("figure ")}


def computing(changed: set[str]) -> set[str]:
    """What is no part of the report."""
    return {label for label in changed if not label.startswith("figure ")} - REPORT


def test_every_rule_carries_the_digest_of_its_script():
    rules = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
    blocks = re.split(r"^ *rule[ :]", rules, flags=re.MULTILINE)[1:]
    scripts = [re.search(r'"\.\./scripts/(\w+)\.py"', block) for block in blocks]
    wrong = [
        script[1]
        for block, script in zip(blocks, scripts, strict=True)
        if script and not re.search(rf'code=code\("{script[1]}"[,)]', block)
    ]
    assert wrong == ["fetch_exports"]  # gigabytes again


def test_docstrings_comments_annotations_and_other_definitions_do_not_count(copy: Copy):
    copy.replace("models/hooks.py", '"""', '"""An edited docstring. ')
    copy.replace("stats.py", "def adjust(", "# a comment\n\ndef adjust(")
    copy.replace("stats.py", "confidence: float", "confidence: object")
    copy.replace("stats.py", "def adjust(", "def added() -> None:\n    print()\n\n\ndef adjust(")
    assert copy.changed() == set()


def test_an_edit_counts_for_all_that_reach_it_and_for_no_other(copy: Copy):
    copy.edit("stats.py", "mcnemar")
    assert copy.changed() == {"accuracy"}
    copy.edit("models/architecture.py", "decoder_of")
    changed = copy.changed()
    assert {"capture", "encode", "align", "benchmark", "latent_score", "steer", "describe_features"} <= changed
    assert not {"gap", "similarity", "transfer", "translate", *REPORT} & changed


def test_faster_parts_count_for_what_loads_a_model_and_for_no_other(copy: Copy):
    for module in ("attention", "card", "faster", "liger", "norms", "sequences", "trial"):
        copy.edit(f"models/fused/{module}.py")
    changed = copy.changed()
    loading = {"capture", "encode", "codes", "align", "benchmark", "latent_score", "steer", "ablate", "intervene"}
    assert loading <= changed
    assert not {"gap", "similarity", "transfer", "fetch_model", "phrase_counts", *REPORT} & changed


def test_a_table_of_the_contract(copy: Copy):
    copy.replace("tables/contracts.py", "CONTRACTS: ", 'ADDED: Contract = {"x": pa.float64()}\nCONTRACTS: ')
    copy.replace(
        "tables/contracts.py", '    "similarity": SIMILARITY,', '    "added": ADDED,\n    "similarity": SIMILARITY,'
    )
    assert copy.changed() == set()
    copy.replace("tables/disparity.py", '"p_adjusted": _F,\n    "n_f', '"p_adjusted": _F,\n    "n": _I,\n    "n_f')
    assert copy.changed() == {"gap"}


def test_a_language_of_the_table(copy: Copy):
    table = copy.resources / "languages.tsv"
    table.write_text(table.read_text(encoding="utf-8") + "xx\tXish\tLatn\tXic\t#000000\txxx_Latn\n", encoding="utf-8")
    assert computing(copy.changed()) == set()


# Modules, and the stages whose digests an edit of them changes.
EDITS: list[tuple[str, set[str]]] = [
    ("redaction.py", set()),
    (
        "sources/archives.py",
        {"fetch_sae", "fetch_tasks", "fetch_documents", "fetch_parallel", "parallel_questions"},
    ),
    ("sources/question_sets.py", {"parallel_questions"}),
    ("sources/neuronpedia.py", {"exported_phrases"}),
    ("sources/okapi.py", {"benchmark", "parallel_questions"}),
    ("sources/documents.py", {"fetch_documents"}),
    ("sources/parallel_text.py", {"fetch_parallel"}),
    ("sources/rows.py", {"fetch_documents", "fetch_parallel", "fetch_tasks", "parallel_questions"}),
    ("sources/multilingual.py", {"fetch_multilingual", "fetch_translator", "translate", "translation_codes"}),
    ("sources/saes/saelens.py", {"fetch_sae"}),
    ("sources/translation_engine.py", {"translate"}),
    ("sources/translation_model.py", {"translate"}),
    ("sources/conversion.py", {"fetch_translator", "fetch_multilingual"}),
    ("sources/language_codes.py", {"translation_codes"}),
    ("sources/opus.py", {"translate"}),
    ("sources/questions.py", {"fetch_questions"}),
    ("sources/lm_eval_data.py", {"fetch_tasks"}),
    ("sources/data_sets.py", {"fetch_tasks"}),
    ("sources/lm_eval_tasks.py", {"benchmark", "fetch_tasks", "parallel_questions"}),
    ("phrases/passages.py", {"phrases"}),
    ("phrases/reproduction.py", {"reproduce"}),
    ("phrases/counts.py", {"phrase_counts"}),
    ("bilingual/translation_tasks.py", {"intervene"}),
    ("causal/ablation.py", {"ablate"}),
    ("causal/choice.py", {"ablate"}),
    ("causal/effects.py", {"ablate"}),
    ("causal/firings.py", {"ablate"}),
    ("explorer/bilingual.py", {"explore"}),
    ("explorer/choice.py", {"explore"}),
    ("explorer/explore.py", {"explore"}),
    ("explorer/measured.py", {"explore"}),
    ("explorer/spans.py", {"explore"}),
    ("models/losses.py", {"ablate", "intervene"}),
    ("sae/decoder.py", {"ablate", "intervene", "sae_seeds"}),
    ("sae/matching.py", {"sae_seeds"}),
    ("bilingual/dose.py", {"intervene"}),
    ("bilingual/class_controls.py", {"sae_seeds", "selectivity"}),
    ("bilingual/embeddings.py", {"describe_features"}),
    ("bilingual/clusters.py", {"describe_features"}),
    ("disparity/alignment.py", {"align"}),
    ("disparity/gradient.py", {"align"}),
    ("disparity/lora_training.py", {"align"}),
    ("disparity/gap.py", {"gap"}),
    ("disparity/gain.py", {"gain"}),
    ("disparity/group_inference.py", {"group_inference"}),
    ("disparity/holdout.py", {"align", "gain"}),
    ("partial.py", {"join", "latent_process", "figure gap_accuracy_correlation"}),
    ("permutation.py", {"correlation", "group_inference", "join", "latent_process"}),
    ("joined/planted_truth.py", {"planted_truth"}),
    ("joined/slopes.py", {"planted_truth"}),
    ("joined/by_language.py", {"join"}),
    ("joined/prediction.py", {"join"}),
    ("joined/compare_models.py", {"compare_models"}),
    ("joined/sizes.py", {"compare_models"}),
    ("models/parameters.py", {"compare_models"}),
    ("latent/pairs.py", {"latent_process", "transfer"}),
    ("latent/transfer_layers.py", {"latent_process"}),
    ("latent/correlation.py", {"latent_process"}),
    ("latent/halves.py", {"steering", "steering_judged"}),
    ("latent/judged.py", {"steering_judged"}),
    ("latent/steer_random.py", {"steer_random"}),
    ("latent/steered_scores.py", {"steer", "steer_random"}),
    ("scoring/sweep.py", {"steer", "steer_random"}),
    ("scoring/prefixes.py", {"steer", "steer_random"}),
    ("scoring/online_softmax.py", {"benchmark", "latent_score", "steer", "steer_random"}),
    ("scoring/lens_kernel.py", {"benchmark", "latent_score", "steer", "steer_random"}),
    ("scoring/trial.py", {"benchmark", "latent_score", "steer", "steer_random"}),
    ("sae/control_features.py", {"encode"}),
    ("text/distinct.py", {"capture", "encode"}),
    ("sae/pool.py", {"ablate", "codes", "explore"}),
    ("sae/codes.py", {"codes"}),
    ("sae/top_windows.py", {"codes", "describe_features", "phrases"}),
    ("disparity/codes.py", {"explore", "reciprocal"}),
    ("disparity/reciprocal.py", {"reciprocal"}),
    ("text/segments.py", {"fetch_parallel", "intervene", "phrases", "translate"}),
]


@pytest.mark.parametrize(
    ("path", "stages"),
    [pytest.param(*edit, marks=[pytest.mark.workflow] if number % 8 else []) for number, edit in enumerate(EDITS)],
)
def test_an_edit_of_all_functions_of_a_module(copy: Copy, path: str, stages: set[str]):
    copy.edit(path)
    assert copy.changed() == stages


def test_a_figure_redraws_itself_and_what_shares_its_code(copy: Copy):
    copy.edit("report/figures/gap.py", "language_gap")
    assert copy.changed() == {"figure language_gap"}


def test_nothing_of_the_report_computes(copy: Copy):
    for path in (copy.package / "report").rglob("*.py"):
        if "def " in path.read_text(encoding="utf-8"):
            copy.edit(str(path.relative_to(copy.package)))
    assert computing(copy.changed()) == set()
    assert figures(copy.changed()) == set(catalogue.FIGURES)


def test_resources_that_a_definition_reads(copy: Copy):
    for name, stages in (("prompts.yaml", {"latent_score", "steer", "steer_random"}), ("world/hi.yaml", {"toy_world"})):
        file = copy.resources / name
        text = file.read_text(encoding="utf-8")
        file.write_text(text + "\n", encoding="utf-8")
        assert copy.changed() == stages
        file.write_text(text, encoding="utf-8")
    assert copy.changed() == set()


def test_what_no_digest_could_follow_is_refused(copy: Copy):
    with pytest.raises(KeyError, match="no such definition"):
        provenance.code_digest("figure", "isogloss.report.figures.gap:none")
    (copy.package.parent / "star.py").write_text("from isogloss.stats import *\n")
    with pytest.raises(ValueError, match="name what is imported"):
        provenance.code_digest("star")
