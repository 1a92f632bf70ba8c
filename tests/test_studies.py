"""What the study files say."""

from pathlib import Path

import pytest

import standin_bilingual
from checkout import REPOSITORY, read_study
from isogloss.config import load_study
from isogloss.report import wanted
from paper_targets import paper_targets

STUDIES = REPOSITORY / "config" / "studies"


def test_the_study_of_paper_b_asks_as_many_languages_as_the_paper():
    study = load_study(read_study(STUDIES / "latent-process.yaml"))
    assert [len(study.latent_languages(task)) for task in study.latent.tasks] == [122, 15, 10]
    assert [layer + 1 for layer in study.probed_layers("gemma-2-2b-it")] == [2, 6, 10, 14, 18, 22, 26]


def test_the_stand_ins_change_the_study_of_paper_c_in_paths_and_sizes_only(tmp_path: Path):
    study = STUDIES / "bilingual-llm-jp.yaml"
    before = standin_bilingual.leaves(read_study(study))
    after = standin_bilingual.leaves(standin_bilingual.merged(study, tmp_path))
    sizes = {"folder", "features", "tokens", "k", "batch_tokens", "buffer_tokens", "warmup_steps", "held_out_tokens"}
    sizes |= {"layers", "d_model", "d_mlp", "heads", "key_value_heads", "d_head", "vocabulary", "evaluation_tokens"}
    sizes |= {"layers_per_job", "examples_per_class", "resume_every", "n_features", "alphas", "repeats", "documents"}
    sizes |= {"token_budget", "bootstrap", "learning_rates", "shots", "sentences", "new_tokens"}
    changed = {path for path, value in after.items() if before.get(path) != value}
    assert {path for path in changed if path[-1] not in sizes} == set()


@pytest.mark.parametrize(
    ("paper", "name"), [("A", "disparity-gemma-2-2b"), ("B", "latent-process"), ("C", "bilingual-llm-jp")]
)
def test_every_figure_and_table_of_a_paper_is_a_target_of_its_study(paper: str, name: str):
    settings = load_study(read_study(STUDIES / f"{name}.yaml")).resolved()
    made: set[str] = {"usage/train_checkpoint_saes"}
    for model in settings["models"]:
        for figure in wanted.figures_of(settings, model):
            made |= {f"figures/{figure}.svg", *wanted.figure_inputs(settings, figure, model)}
        for table in wanted.tables_of(settings, model):
            made |= {f"html/{table}.html", wanted.table_inputs(table, model)}
    made = {path.split("/", 2)[2] if path.startswith("results/") else path for path in made}
    targets = paper_targets(paper)
    assert len(targets) > 5
    assert set(targets) <= made
