"""Features of one language and their ablation: against SAELens and plain hooks, SciPy, hand-computed cases."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from config_sections import grouped
from isogloss.causal.ablate import ablate
from isogloss.causal.ablation import ablated_losses
from isogloss.causal.choice import choose_features, matched_features, traits_of
from isogloss.causal.effects import Ablation, Losses, ablation_rows, resampled_changes, summary_rows
from isogloss.causal.firings import Firings, count_firings
from isogloss.config import load_study
from isogloss.config.causal import Causal
from isogloss.config.measures import Compute, Statistics
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of, hidden_of, with_hidden
from isogloss.models.loading import load_causal_model
from isogloss.sae.autoencoder import load_encoders, unit_norm
from isogloss.sae.decoder import read_decoder
from isogloss.tables import read_table, table_metadata, write_table
from isogloss.tables.causal import ABLATION, ABLATION_SUMMARY, LANGUAGE_FEATURES
from standins import tiny_gemma2, tiny_model, tiny_sae
from synthetic import settings as synthetic_settings
from test_injection import sae_for

TEXTS = [[2, 40, 41, 60], [2, *range(50, 75)], [2, 99], [2, *range(300, 260, -1)], [2, 7, 7, 8, 9, 30]]
LANGUAGES = ["en", "es", "hi"]


# Which features are of a language


def firings_of(fired, tokens, total=None) -> Firings:
    fired = np.array(fired)
    return Firings(np.array(tokens), fired, fired.astype(float) if total is None else np.array(total, float))


def test_traits_are_scipys_entropy_and_the_plain_definitions():
    generator = np.random.default_rng(0)
    fired = generator.integers(0, 40, (50, 4)) * generator.integers(0, 2, (50, 4))
    fired[7] = 0
    firings = firings_of(fired, [100, 200, 50, 400], generator.random((50, 4)) * fired)
    found = traits_of(firings)
    for feature, counts in enumerate(fired):
        rates = [count / n for count, n in zip(counts, (100, 200, 50, 400), strict=True)]
        if not counts.any():
            assert np.isnan([found.entropy[feature], *found.share[feature], *found.monolinguality[feature]]).all()
            continue
        assert found.entropy[feature] == pytest.approx(stats.entropy(rates), abs=1e-12)
        means = [value / n for value, n in zip(firings.total[feature], (100, 200, 50, 400), strict=True)]
        for lang in range(4):
            assert found.share[feature, lang] == pytest.approx(rates[lang] / sum(rates))
            others = [mean for other, mean in enumerate(means) if other != lang]
            assert found.monolinguality[feature, lang] == pytest.approx(means[lang] - sum(others) / 3)


def test_a_case_by_hand():
    #                     en   es  of 100 and 50 tokens: rates
    firings = firings_of([[40, 1], [20, 10], [5, 0], [0, 25], [95, 5], [12, 0]], [100, 50])
    found = traits_of(firings)
    assert found.share[0].tolist() == pytest.approx([0.4 / 0.42, 0.02 / 0.42])
    assert found.entropy[1] == pytest.approx(math.log(2))  # as often in both, at equal tokens
    assert found.entropy[3] == 0
    assert found.monolinguality[4].tolist() == pytest.approx([0.85, -0.85])
    chosen = {
        (one.lang, one.method): one.features.tolist()
        for one in choose_features(firings, ["en", "es"], Causal(n_features=3))
    }
    # By share above .9, those first that fire most: feature 2 has too few firings, feature 4 a share of .905.
    assert chosen["en", "share"] == [4, 0, 5]
    assert chosen["es", "share"] == [3]
    # By entropy: on more than a tenth of the tokens, in no other language four fifths as often.
    assert chosen["en", "entropy"] == [5, 0, 4]
    assert chosen["es", "entropy"] == [3]
    assert chosen["en", "monolinguality"] == [4, 0, 5]
    assert chosen["es", "monolinguality"] == [3]


def test_a_language_without_features_says_why():
    firings = firings_of([[20, 20], [11, 12]], [100, 100])
    reasons = {(one.lang, one.method): one.reason for one in choose_features(firings, ["en", "es"], Causal())}
    assert reasons["en", "share"] == ("no feature has more than 90 % of its firings in en; the largest share is 50 %")
    assert reasons["es", "entropy"] == ("no feature that fires on more than 10 % of the tokens does so in es alone")
    assert reasons["en", "monolinguality"] == "no feature fires more strongly in en than in the others"
    assert reasons["es", "monolinguality"] is None
    silent = firings_of([[0, 0], [0, 0]], [5, 5])
    assert all(one.reason for one in choose_features(silent, ["en", "es"], Causal()))


def test_random_features_fire_as_often_and_are_none_of_the_languages():
    rates = np.linspace(0.001, 0.5, 200)
    chosen, excluded = np.array([20, 100, 180]), np.array([19, 21, 101])
    draws = [matched_features(rates, chosen, excluded, [0, draw]) for draw in range(40)]
    for drawn in draws:
        assert len(set(drawn.tolist())) == 3
        assert not {*drawn.tolist()} & {*chosen.tolist(), *excluded.tolist()}
        assert np.abs(drawn - chosen).max() <= 8  # ten nearest, what is left out stepped over
    assert len({tuple(drawn) for drawn in draws}) > 20
    assert np.array_equal(draws[3], matched_features(rates, chosen, excluded, [0, 3]))
    few = matched_features(np.array([0.1, 0.1, 0.1, 0.0]), np.array([0, 1]), np.array([0]), [0])
    assert few.tolist() == [2]  # one other fires


# Firings and losses


@pytest.fixture(scope="module", params=["topk", "jumprelu", "standard"])
def kind(request):
    return request.param


@pytest.fixture(scope="module", params=[True, False], ids=["unit", "as it is"])
def instruments(request, kind, tmp_path_factory):
    """A causal model and an SAE of each kind after layer 1, for vectors at unit norm or as they are."""
    folder = tmp_path_factory.mktemp("causal")
    lm = tiny_gemma2(folder / "lm") if kind != "standard" else tiny_model(folder / "lm", family="llama")
    sae = sae_for(folder / "sae", kind=kind, unit=request.param)
    encoder = load_encoders({1: sae}, d_model=32, device=torch.device("cpu"))[1]
    return lm, sae, load_causal_model(lm), encoder, read_decoder(sae)[0]


def naive_loss(lm: Path, sae: Path, ids, chosen) -> tuple[float, float]:
    """transformers' loss of one text with a plain hook in which SAELens encodes, and decodes the difference."""
    from sae_lens import SAE

    model, theirs = AutoModelForCausalLM.from_pretrained(lm).eval(), SAE.load_from_disk(sae, device="cpu")
    unit = json.loads((sae / "cfg.json").read_text())["metadata"]["unit_norm_input"]
    shares = []

    def hook(_module, _inputs, output):
        x = hidden_of(output)[:, 1:]  # not at BOS
        norm = x.norm(dim=-1, keepdim=True) if unit else torch.ones(1)
        codes = theirs.encode(x / norm)
        off = codes.clone()
        off[..., chosen] = 0
        taken = (theirs.decode(codes) - theirs.decode(off)) * norm
        shares.append((taken.norm(dim=-1) / x.norm(dim=-1)).mean().item())
        changed = hidden_of(output).clone()
        changed[:, 1:] = x - taken
        return with_hidden(output, changed)

    handle = decoder_of(model).layers[1].register_forward_hook(hook)
    with torch.no_grad():
        loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    handle.remove()
    return loss, shares[0]


def test_ablation_is_a_plain_hook_with_saelens(instruments):
    lm, sae, model, encoder, w_dec = instruments
    sets = [torch.tensor([3, 17, 40, 41]), torch.arange(64), torch.tensor([], dtype=torch.long), torch.tensor([40])]
    found = ablated_losses(model, 1, encoder, w_dec, TEXTS, sets=sets, token_budget=64)
    for text, ids in enumerate(TEXTS):
        plain, _ = naive_loss(lm, sae, ids, [])
        assert found.plain[text].item() == pytest.approx(plain, rel=1e-5)
        for number, chosen in enumerate(sets):
            loss, share = naive_loss(lm, sae, ids, chosen.tolist())
            assert found.losses[number, text].item() == pytest.approx(loss, rel=2e-5)
            assert found.removed[number, text].item() == pytest.approx(share, rel=1e-4, abs=1e-6)
    assert torch.equal(found.losses[2], found.plain)  # nothing off: not a bit
    assert not torch.allclose(found.losses[1], found.plain)
    together = ablated_losses(model, 1, encoder, w_dec, TEXTS, sets=sets, token_budget=4096)
    assert_close(together.losses, found.losses, rtol=1e-5, atol=1e-6)
    alone = ablated_losses(model, 1, encoder, w_dec, TEXTS, sets=sets[3:], token_budget=64)
    assert_close(alone.losses[0], found.losses[3], rtol=1e-6, atol=1e-7)
    assert ablated_losses(model, 1, encoder, w_dec, TEXTS, sets=[], token_budget=64).losses.shape == (0, len(TEXTS))


def test_firings_are_those_of_saelens_on_single_texts(instruments, monkeypatch):
    from sae_lens import SAE

    _, sae, model, encoder, _ = instruments
    theirs = SAE.load_from_disk(sae, device="cpu")
    ids = {"en": TEXTS[:3], "es": TEXTS[3:]}
    found = count_firings(model, 1, encoder, ids, token_budget=40)
    assert found.tokens.tolist() == [3 + 25 + 1, 40 + 5]
    fired, total = np.zeros((64, 2), int), np.zeros((64, 2))
    for lang, texts in enumerate(ids.values()):
        for text in texts:
            states = []
            handle = (
                decoder_of(model)
                .layers[1]
                .register_forward_hook(lambda _m, _i, output, states=states: states.append(hidden_of(output)))
            )
            with torch.no_grad():
                model(torch.tensor([text]))
                x = states[0][0, 1:]
                codes = theirs.encode(unit_norm(x) if encoder.unit_norm_input else x)
            handle.remove()
            fired[:, lang] += (codes > 0).sum(dim=0).numpy()
            total[:, lang] += codes.double().sum(dim=0).numpy()
    assert np.array_equal(found.fired, fired)
    np.testing.assert_allclose(found.total, total, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("isogloss.causal.firings._ENTRIES", 5 * 64)
    in_parts = count_firings(model, 1, encoder, ids, token_budget=4096)
    assert np.array_equal(in_parts.fired, fired)


# Effects


def losses_of(changes, tokens):
    """Losses whose change a token is as given, [sets, languages, texts]."""
    tokens = np.array(tokens)
    plain = 2.0 * tokens
    return Losses(plain, plain + np.array(changes) * tokens, np.zeros((len(changes), *tokens.shape)), tokens)


def sets_of(*named) -> list[Ablation]:
    return [Ablation(lang, "share", draw, np.arange(n), None if n else "none") for lang, draw, n in named]


def test_changes_are_per_token_and_their_resamples_paired():
    losses = losses_of([[[0.1, 0.4], [0.0, 0.0]]], [[10, 30], [5, 5]])
    changes = resampled_changes(losses, replicates=500, seed=[1])
    assert changes[0, 0].tolist() == pytest.approx([(0.1 * 10 + 0.4 * 30) / 40, 0])
    assert set(np.round(changes[1:, 0, 0], 9)) == {0.1, 0.325, 0.4}  # either text twice, or both
    assert resampled_changes(losses_of([[[0.1], [0.2]]], [[3], [4]]), replicates=500, seed=[1]).shape == (1, 1, 2)


def test_the_summary_of_a_case_by_hand():
    ablations = sets_of(("en", None, 2), ("en", 0, 2), ("en", 1, 2), ("es", None, 2), ("es", 0, 2), ("hi", None, 0))
    per_token = [[0.5, 0.1, 0.0], [0.1, 0.1, 0.1], [0.3, 0.2, 0.0], [0.0, 0.3, 0.2], [0.0, 0.1, 0.0], [0.0, 0.0, 0.0]]
    losses = losses_of(np.array(per_token)[:, :, None].repeat(4, axis=2), np.full((3, 4), 10))
    changes = resampled_changes(losses, replicates=200, seed=[0])
    summary = summary_rows(ablations, LANGUAGES, changes, layer=1, n_texts=4, confidence=0.95)
    rows = {row["ablated"]: row for row in summary.iter_rows(named=True)}
    en, es, hi, every = (rows[lang] for lang in ("en", "es", "hi", None))
    assert [en[name] for name in ("own", "others", "difference")] == pytest.approx([0.5, 0.05, 0.45])
    assert [en[name] for name in ("own_random", "others_random")] == pytest.approx([0.2, 0.1])
    assert en["beyond_random"] == pytest.approx(0.35)
    assert [en["ci_low"], en["ci_high"]] == pytest.approx([0.45, 0.45])  # all texts alike
    assert [es["difference"], es["beyond_random"]] == pytest.approx([0.2, 0.1])
    assert (hi["difference"], hi["n_features"], hi["reason"]) == (None, 0, "none")
    assert [every["own"], every["others"], every["difference"]] == pytest.approx([0.4, 0.075, 0.325])
    low, high = stats.t.interval(0.95, 1, 0.325, stats.sem([0.45, 0.2]))
    assert [every["ci_low"], every["ci_high"]] == pytest.approx([low, high])
    assert (every["n_languages"], every["n_without"], every["n_texts"]) == (2, 1, 4)
    table = ablation_rows(ablations, LANGUAGES, losses, changes, layer=1, confidence=0.95)
    assert table.height == 18
    assert table.filter(ablated="hi")["change"].is_null().all()
    assert table.filter(ablated="en", features="language", lang="en")["loss"].to_list() == pytest.approx([2.5])


def test_no_language_with_features_is_null_with_the_reason():
    ablations = sets_of(*((lang, None, 0) for lang in LANGUAGES))
    changes = resampled_changes(losses_of(np.zeros((3, 3, 2)), np.full((3, 2), 4)), replicates=10, seed=[0])
    summary = summary_rows(ablations, LANGUAGES, changes, layer=1, n_texts=2, confidence=0.95)
    first = summary.row(0, named=True)
    assert (first["ablated"], first["difference"], first["n_without"]) == (None, None, 3)
    assert first["reason"] == "no language has features by this method"
    assert summary["reason"].null_count() == 0


# The stage

WORDS = {"en": "The currency of {} is Euro", "es": "La moneda de {} es euro", "hi": "{} की राजभाषा हिन्दी है"}
NAMES = ["Austria", "India", "Russia", "Spain", "Nepal", "Peru", "Chile", "Mali", "Oman", "Fiji"]


def segments(lang: str, names=NAMES) -> pl.DataFrame:
    texts = [WORDS[lang].format(name) for name in names]
    return pl.DataFrame({"segment": [f"s{number}" for number in range(len(names))], "text": texts})


@pytest.fixture(scope="module")
def saes(tmp_path_factory):
    return sae_for(tmp_path_factory.mktemp("saes") / "layer_1", unit=False).parent


def run(lm, saes, folder, frames=None, **changes):
    frames = {lang: segments(lang) for lang in WORDS} if frames is None else frames
    tables = {lang: str(folder / f"{lang}.parquet") for lang in frames}
    for lang, frame in frames.items():
        write_table(tables[lang], frame)
    names = ("language_features", "ablation", "ablation_summary")
    given = {
        "lm": str(lm), "sae": str(saes), "tables": tables, "reference": "en", "layer": 1, "seed": 0, "metadata": {},
        **{name: str(folder / f"{name}.parquet") for name in names},
        "settings": Causal(share=0.4, n_features=4, minimum_firings=1, repeats=2, **changes.pop("causal", {})),
        "bootstrap": 100, "confidence": 0.9, "token_budget": 100, "dtype": "float32", **changes,
    }  # fmt: skip
    ablate(**grouped(given, statistics=Statistics, compute=Compute))
    return {name: read_table(given[name]) for name in names}


def test_the_stage_chooses_on_one_half_and_measures_on_the_other(lm_folder, saes, tmp_path):
    found = run(lm_folder, saes, tmp_path)
    for name, contract in (
        ("language_features", LANGUAGE_FEATURES),
        ("ablation", ABLATION),
        ("ablation_summary", ABLATION_SUMMARY),
    ):
        assert found[name].columns == list(contract)
    notes = table_metadata(tmp_path / "ablation.parquet")
    assert (notes["n_choosing"], notes["n_texts"]) == (5, 5)
    features, ablation = found["language_features"], found["ablation"]
    assert set(features["method"]) == {"share", "entropy", "monolinguality"}
    chosen = features.drop_nulls("feature")
    assert (chosen.filter(method="share")["share"] > 0.4).all()
    assert chosen.group_by("lang", "method").len()["len"].max() <= 4
    by_language = ablation.filter(features="language", lang="en").select("ablated", "method", "n_features")
    counts = chosen.group_by("lang", "method").len().rename({"lang": "ablated", "len": "n"})
    joined = by_language.join(counts, on=["ablated", "method"], how="left").with_columns(pl.col("n").fill_null(0))
    assert joined["n_features"].to_list() == joined["n"].to_list()
    random = ablation.filter(features="random")
    assert set(random["draw"]) == {0, 1}
    assert ablation["change"].is_not_null().any()
    again = run(lm_folder, saes, tmp_path)
    assert all(again[name].equals(found[name]) for name in found)
    few = run(lm_folder, saes, tmp_path, causal={"measured": 2, "methods": ["entropy"]})
    assert few["ablation_summary"]["n_texts"].unique().to_list() == [2]
    assert few["ablation"]["method"].unique().to_list() == ["entropy"]


def test_a_feature_of_one_language_alone_leaves_the_others_as_they_are(lm_folder, saes, tmp_path):
    found = run(lm_folder, saes, tmp_path, causal={"entropy_part": 0.1})["ablation"]
    for row in found.filter(features="language").drop_nulls("change").iter_rows(named=True):
        assert (row["removed_pct"] == 0) == (row["change"] == 0)  # nothing fires, nothing changes


@pytest.mark.parametrize(
    ("spoil", "changes", "message"),
    [
        (lambda frames: {**frames, "es": frames["es"].with_columns(text=pl.lit(" "))}, {}, "es lacks 10 of 10"),
        (
            lambda frames: {lang: frame.head(1) for lang, frame in frames.items()},
            {},
            "a single text that every language has; ablation needs two or more",
        ),
        (
            lambda frames: {**frames, "hi": frames["hi"].with_columns(text=pl.lit("लंबा पाठ " * 200))},
            {},
            "but the model reads 512; shorten it",
        ),
        (lambda frames: frames, {"layer": 0}, "no cfg.json there, so no SAE"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(lm_folder, saes, tmp_path, spoil, changes, message):
    frames = spoil({lang: segments(lang) for lang in WORDS})
    with pytest.raises(IsoglossError, match=message) as raised:
        run(lm_folder, saes, tmp_path, frames, **changes)
    assert "\n" not in str(raised.value)


def test_an_sae_of_the_wrong_width_and_values_that_are_not_finite_are_refused(lm_folder, saes, tmp_path):
    tiny_sae(tmp_path / "wide" / "layer_1", d_model=64)
    with pytest.raises(IsoglossError, match="the SAE is for width 64"):
        run(lm_folder, tmp_path / "wide", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(lm_folder)
    model.model.layers[0].mlp.down_proj.weight.data[0, 0] = torch.inf
    model.save_pretrained(tmp_path / "lm")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "lm" / name).write_bytes((Path(lm_folder) / name).read_bytes())
    with pytest.raises(IsoglossError, match="layer 1, language en: the residual stream is not finite"):
        run(tmp_path / "lm", saes, tmp_path)


# The configuration


def study(**changes):
    model = {
        "kind": "pretrained", "title": "Tiny", "source": {"folder": "lm"}, "layers": [1, 2], "analyses": ["causal"],
        "architecture": {"layers": 3, "d_model": 32, "d_mlp": 64, "heads": 2, "key_value_heads": 1, "d_head": 16,
                         "vocabulary": 320},
        "sae": {"features": 64, "k": 8}, **changes.pop("model", {}),
    }  # fmt: skip
    return {
        "study": "causal", "languages": {"others": ["es", "hi"]}, "models": {"tiny": model},
        "parallel": {"folder": "corpus", "files": "{lang}.tsv", "text_column": "text"}, **changes,
    }  # fmt: skip


def test_the_layer_is_the_earlier_middle_one_unless_it_is_given():
    assert load_study(study()).ablated_layer("tiny") == 1  # of 1 and 2 the earlier
    assert load_study(study(causal={"layer": 2})).ablated_layer("tiny") == 2
    assert load_study(study()).causal.methods == ["share", "entropy", "monolinguality"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"causal": {"layer": 0}}, r"causal\.layer: models\.tiny has no SAE at layer 0; allowed: 1, 2"),
        ({"parallel": None, "documents": "world"}, ""),
        ({"parallel": None}, "SAEs of models.tiny need; give some"),
        ({"model": {"sae": None}}, "similarity, gap, alignment and causal need SAEs"),
        ({"languages": {"others": []}}, "give high_resource and medium_low_resource, or others"),
        ({"causal": {"methods": ["share", "share"]}}, "named twice: share"),
        ({"causal": {"methods": ["peaks"]}}, r"causal\.methods\.0"),
    ],
)
def test_what_does_not_go_together_is_one_line(changes, message):
    config = study(**changes)
    if not message:
        assert load_study(config).parallel_provider == "world"
        return
    with pytest.raises(IsoglossError, match=message):
        load_study(config)


def test_causal_needs_parallel_text():
    files = {lang: {"folder": "texts", "files": f"{lang}.txt"} for lang in LANGUAGES}
    with pytest.raises(IsoglossError, match="causal reads the same texts in every language; give parallel"):
        load_study(study(parallel=None, documents=files))


# The report


def test_the_finding_says_what_the_tables_say():
    from isogloss.report.findings.causal import ablation
    from isogloss.report.shared.context import Context
    from synthetic_causal import ablation_tables

    context = Context("skewed", synthetic_settings())
    tables = ablation_tables(context.languages)
    first, share, entropy, _, mono, dose = ablation(tables, context)
    assert "after layer 2." in first
    assert "the 40 whose loss is measured" in first
    assert share.startswith("Features by share of all firings: none in any language (no feature has more than 90 %")
    assert "(mean over 9 languages)" in entropy
    assert "No features: " in entropy
    row = tables["ablation_summary"].filter(pl.col("ablated").is_null(), method="monolinguality").row(0, named=True)
    assert f"own language changes by {row['own']:.2f}, in the others by {row['others']:.2f}" in mono
    assert "so they carry their language more than the others" in mono
    assert "above that of random ones in 10 of 10 languages" in mono
    assert dose.startswith("The dose: what is taken away has 20 % of the state's norm")
    alike = " ".join(ablation(ablation_tables(context.languages, own=0.01), context))
    assert "it is not shown that they carry their own more than the others" in alike


def test_the_figure_shows_the_tables_changes_and_what_has_no_features():
    from isogloss.report.figures.causal import ablation
    from isogloss.report.shared.context import Context
    from synthetic_causal import ablation_tables

    context = Context("skewed", synthetic_settings())
    tables = ablation_tables(context.languages)
    figure = ablation(tables, context)
    figure.draw_without_rendering()
    codes = context.ordered(context.languages)
    drawn = figure.axes[2].images[0].get_array()
    rows = tables["ablation"].filter(method="monolinguality", features="language")
    for ablated, lang, change in rows.select("ablated", "lang", "change").iter_rows():
        assert drawn[codes.index(ablated), codes.index(lang)] == pytest.approx(change)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no language has\nfeatures"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["no features"]
    nothing = {name: frame.filter(method="share") for name, frame in tables.items()}
    ablation(nothing, context).draw_without_rendering()
    few = ablation_tables(["en", "hi"])
    numbers = [text.get_text() for text in ablation(few, context).axes[2].texts]
    assert len(numbers) == 4
