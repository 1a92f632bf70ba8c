"""The summary page: numbers and directions are the tables', hostile text stays text."""

import json
import re
from html import unescape
from pathlib import Path

import polars as pl
import pytest
from docutils.core import publish_parts
from jinja2 import Environment

from finding_tables import CONFIG, judged
from isogloss.config import load_study
from isogloss.config.files import read_file
from isogloss.errors import IsoglossError
from isogloss.languages import language
from isogloss.report import wanted
from isogloss.report.page.banner import banner
from isogloss.report.page.frames import add_script
from isogloss.report.page.markup import without_braces
from isogloss.report.page.summary import landing_text, page, summary
from isogloss.report.shared.json_script import json_script
from isogloss.report.shared.study import Study
from synthetic import make_tables, metadata, settings, write_results


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, gaps: dict[str, float], config: dict = CONFIG) -> str:
    """The page; beside it the landing text as Snakemake's report sets it: through jinja2, then docutils."""
    monkeypatch.chdir(folder)
    write_results(folder, config, gaps)
    for path in map(Path, wanted.summary_figures(config)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>" + "<!-- long -->" * 3000)
    summary(
        tables=[path for path in wanted.summary_tables(config) if "explorer" not in path],  # has tests of its own
        figures=wanted.summary_figures(config),
        settings=config,
        output="results/summary.html",
        landing="results/overview.rst",
    )
    rendered = Environment().from_string(Path("results/overview.rst").read_text()).render()
    publish_parts(rendered, writer="html", settings_overrides={"halt_level": 2})
    return Path("results/summary.html").read_text()


def plain(html: str) -> str:
    return re.sub(
        r"\s+", " ", unescape(re.sub(r"<style>.*?</style>|<script.*?</script>|<[^>]+>", " ", html, flags=re.S))
    )


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    return make_tables(CONFIG, "skewed")


def test_page_carries_the_tables_numbers(tmp_path, monkeypatch, tables):
    html = written(tmp_path, monkeypatch, {"skewed": 20.0, "equal": 0.0})
    text = plain(html)
    rows = tables["group_gap"].filter(pl.col("variant") == "with_reference").to_dicts()
    for row in (rows[0], rows[-1]):
        assert (
            f"({row['layer']}) the gap between the groups, with English as high-resource, is"
            f" {row['gap_pct']:.1f} % [{row['ci_low']:.1f}, {row['ci_high']:.1f}]:"
            " medium-to-low-resource languages activate the features less"
        ) in text
    largest = tables["language_gap_summary"].sort("mean_gap_pct").row(-1, named=True)
    assert f"mean over layers: Hindi, {largest['mean_gap_pct']:.1f} %" in text
    english = tables["accuracy"].row(0, named=True)
    asked = (
        f"Toy questions (ARC-Challenge format), 10 examples in the prompt, {english['n']} questions a language: English"
    )
    assert f"{asked} {100 * english['accuracy']:.1f} %" in text
    assert ("English retains 96.0 % [93.0, 98.5] on held-out features, 94.0 % [92.5, 95.5] on all.") in text
    assert "all-l2 (target layer 2): gain of 12 features held out of training: from" in text
    assert "In-sample, all 50 features: from" in text
    assert (
        "r = −0.90 [−0.98, −0.60] over 9 languages (p = 0.002 over 10,000 random orders of them;"
        " Spearman's ρ −0.85, p = 0.004): languages with a larger gap are the less"
    ) in text
    section = text
    assert "over the 126 ways to split these languages into 4 and 5" in section
    assert "148 duplicates dropped, 3,200 phrases kept" in text
    assert "with English left out, has its interval above zero in 0, below zero in 0 and across zero in 4 of 4" in text
    assert "of Skewed shares is, with English left out, larger in 4, smaller in 0 and not told apart in 0 of 4" in text
    assert "The measure that leads this report is retrieval, which was not measured" in text
    assert re.search(r"Of \d internal measures \d follow the planted shares: gap \(paper A\), gap at equal", text)
    assert "With one seed none can pass the planted-truth test (make planted has three)." in text
    assert "20 % of the facts are told in English only and 10 % in no language" in text
    assert "torch 2.0" in text
    drawn = {path.stem for path in map(Path, wanted.summary_figures(CONFIG))}
    assert drawn <= set(re.findall(r'id="figure-(\w+)"', html))
    assert re.search(r'id="table-group_gap-equal"', html)
    assert (
        "Beyond tokens and script, 1 of 8 measures predicts accuracy over 9 languages: centred cosine, r with these"
        " taken out = 0.90 [0.50, 0.98], p = 0.010 after correction over 8 tests, R² in languages left out of the fit"
        " from 0.50 to 0.75."
    ) in text
    assert (
        "Not held against accuracy: share of mixed features (paper C) (needs 6 languages beside the reference" in text
    )
    assert text.index("What joins the three") < text.index("Between models") < text.index("What was dropped")
    assert "Toy questions (HellaSwag format), accuracy: Skewed shares 50.0 % [45.0, 55.0]" in text
    assert "models of 1 size were measured, a slope needs three" in text


def before_the_folds(html: str) -> list[str]:
    """The words that stand above the evidence, in no fold and on no button; numbers are not words."""
    top = html.split("<main", 1)[1].split(">", 1)[1].split('<section class="evidence">')[0]
    away = r'<details.*?</details>|<script.*?</script>|<p class="chart-empty">.*?</p>|<img .*?>(?=</div>)'
    chips = r'<div class="js-languages.*?</div>'
    top = re.sub(f"{away}|{chips}", " ", top, flags=re.DOTALL)
    return [word for word in plain(top).split() if re.search(r"[^\W\d_]", word)]


def test_page_stands_alone_and_begins_in_few_words(tmp_path, monkeypatch):
    html = written(tmp_path, monkeypatch, {"skewed": 20.0, "equal": 0.0})
    assert len(before_the_folds(html)) <= 600
    assert not re.search(r"""(?:src|action|data)=["']?(?:https?:)?//|url\(["']?https?:|@import""", html)
    ids = re.findall(r'<[^>]* id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)
    order = ["banner synthetic", 'id="scorecard"', 'id="key-figures"', 'id="evidence"', 'id="caveats"', 'id="methods"']
    positions = [html.index(part) for part in (*order, 'id="reproduce"')]
    assert positions == sorted(positions)


def test_banner_tells_a_real_model_from_a_synthetic_world():
    config = settings()
    synthetic = banner(Study(config, {}, {}, {}))
    assert synthetic.kind == "synthetic"
    assert "(“Skewed shares”: 3 to 40\u00a0% a language; “Equal shares”: 10\u00a0% a language)" in synthetic.text
    config["models"]["equal"]["kind"] = "pretrained"
    assert banner(Study(config, {}, {}, {})).kind == "both"
    config["models"]["skewed"]["kind"] = "pretrained"
    real = banner(Study(config, {}, {}, {}))
    assert real.kind == "real"
    assert "“Skewed shares” and “Equal shares”, measured in English, Spanish" in real.text
    config["models"]["skewed"]["title"] = "x" * 10_000
    assert len(banner(Study(config, {}, {}, {})).text) < 500


def test_a_large_page_within_the_report_gets_its_script(tmp_path):
    report, script = tmp_path / "report.html", tmp_path / "frames.js"
    script.write_text("let a = 1;")
    report.write_text("<html><body><script>var b = '</body>'</script></body></html>")
    add_script(report, script)
    assert report.read_text().endswith("</script><script>\nlet a = 1;</script>\n</body></html>")
    report.write_text("not a page")
    with pytest.raises(IsoglossError, match="no HTML page"):
        add_script(report, script)


def test_analyses_that_were_not_run_have_no_findings(tmp_path, monkeypatch):
    text = plain(written(tmp_path, monkeypatch, {"skewed": 20.0, "equal": 0.0}))
    html = Path("results/summary.html").read_text()
    assert {"group_gap-equal", "similarity-skewed"} <= set(re.findall(r'id="table-([\w-]+)"', html))
    assert not {"similarity-equal", "alignment_gain-equal"} & set(re.findall(r'id="table-([\w-]+)"', html))
    assert text.count("a translation always picks out its English text among") == 1


def test_the_gap_chosen_both_ways_comes_first_and_says_what_the_papers_gap_is_worth(tmp_path, monkeypatch, tables):
    text = plain(written(tmp_path, monkeypatch, {"skewed": 20.0, "equal": 0.0}))
    section = text
    assert section.index("When English chooses features and texts") < section.index("the gap between the groups")
    summary = tables["reciprocal_gap_summary"].sort("gap_from_reference_pct")
    low, high = summary.row(0, named=True), summary.row(-1, named=True)
    assert (
        "the other languages fire these features more weakly by"
        f" {low['gap_from_reference_pct']:.1f} % ({language(low['lang']).name}) to"
        f" {high['gap_from_reference_pct']:.1f} %"
        f" ({language(high['lang']).name}). When each of these chooses, English fires them more weakly by"
    ) in text
    assert "So the gap follows the language that chose" in text
    assert "0 of 9 languages are weaker than English, 0 stronger and 9 not told apart by their intervals" in text
    assert "chosen in English, cannot be read as a property of any language here" in text
    assert "5.0 % more weakly in another wording of the same text; a language that reads another text" in text
    assert "among 1,000 (that no language chose)" in text


@pytest.mark.parametrize("analyses", [["benchmarks"], ["gap"], ["similarity"], []])
def test_studies_of_one_analysis_have_a_page(tmp_path, monkeypatch, analyses):
    config = settings()
    for model in config["models"].values():
        model["analyses"] = analyses
        model["title"] = "The same title"
    text = plain(written(tmp_path, monkeypatch, {"skewed": 20.0, "equal": 0.0}, config))
    assert ("Accuracy by language" in text) == ("benchmarks" in analyses)
    assert ("Gap between groups" in text) == ("gap" in analyses)
    assert ("larger in 4, smaller in 0" in text) == ("gap" in analyses)


def test_a_study_without_checkpoints_is_said_nothing_of_training(tmp_path, monkeypatch):
    config = settings()
    gaps = {"skewed": 20.0, "equal": 0.0}
    whole = plain(written(tmp_path, monkeypatch, gaps, config))
    assert "When in training do features" in whole
    assert "Injected features come from" in whole
    for model in config["models"].values():
        model["traits"] = [trait for trait in model["traits"] if trait not in ("checkpoints", "injected")]
    finished = plain(written(tmp_path, monkeypatch, gaps, config))
    assert "Which of a model's features are of one language" in finished
    for words in ("When in training", "Each checkpoint", "Injected features come from"):
        assert words not in finished


def test_studies_of_paper_c_alone_do_not_speak_of_paper_a(tmp_path, monkeypatch):
    config = settings()
    config["models"]["skewed"]["analyses"] = ["bilingual"]
    config["models"]["equal"]["analyses"] = []
    text = plain(written(tmp_path, monkeypatch, {"skewed": 20.0, "equal": 0.0}, config))
    assert "Bilingual features of Skewed shares: SAEs of 4 layers at 6 training steps, 1 to 1,328." in text
    assert "mixed features, −0.35" in text
    assert "Cite paper C for the method" in text
    for absent in ("2507.18918", "Phrases:", "top activators"):
        assert absent not in text


def test_hostile_text_is_inert(tables):
    hostile = '<script>alert(1)</script> {{ 7*7 }} {% raw %}\n\n.. raw:: html\n\n"x'
    config = settings()
    config["models"]["skewed"]["title"] = hostile
    made = metadata() | {"versions": {"<b>{{ evil }}": "{# x #}"}}
    study = Study(config, {"skewed": tables, "equal": make_tables(config, "equal")}, {}, {})
    html = page(study, {}, made)
    assert "<script>alert" not in html
    assert "<b>{{ evil" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    landing = landing_text(study)
    for forbidden in ("<script", "{{", "{%", "{#", "<b>"):
        assert forbidden not in landing
    assert "\n.. raw" not in landing
    assert unescape(without_braces("{{ a }}")) == "{{ a }}"
    assert without_braces("<style>p {color: red}</style><p>{% a %}</p>").startswith("<style>p {color: red}</style>")
    assert "{" not in without_braces("<style>p {color: red}</style><p>{% a %}</p>").partition("</style>")[2]


def test_json_in_a_page_is_inert_and_comes_back():
    value = {"</script>": ["<!--", "a & b", "\u2028\u2029", "{{ 7 }}", "ñ"]}
    element = '<script type="application/json">'
    text = json_script(value).removeprefix(element).removesuffix("</script>")
    assert json_script(value) == f"{element}{text}</script>"
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_of_many_models_the_page_has_shares_and_verdicts_alone():
    study = read_file(Path(__file__).parents[1] / "config" / "studies" / "planted-truth.yaml")
    config = load_study(study).resolved()
    tables = {model: make_tables(config, model) for model in config["models"]}
    tables["comparison"] = {"planted_truth": judged(similarity__retrieval={})}
    compared = tables.pop("comparison")
    html = page(Study(config, tables, compared, {}), {}, metadata())
    section = html.split('id="evidence-the-planted-truth"')[1].split("</details>")[0]
    assert "Of 1 internal measures 1 passes the planted-truth test: retrieval" in section
    assert section.count(": share (%)") == 6
    assert "rises with the planted share" not in section
    assert ": accuracy (%)" not in section
