"""A published SAE by release, width and L0: the ids of SAELens' directory that they stand for."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import standin_study
from checkout import REPOSITORY
from isogloss.config.pretrained import Saes
from isogloss.errors import IsoglossError
from isogloss.sources.saes.choice import choices, choose, features, sae_id
from isogloss.sources.saes.release import find_release

SCOPE = "gemma-scope-2b-pt-res"
SWEEPS = ("sae_bench_", "saebench_", "llama_scope_r1_distill")  # told apart by trainer, step or data alone


def chosen(release: str, layer: int, **how: Any) -> str:
    return sae_id(Saes.model_validate({"release": release, **how}), layer)


@pytest.mark.parametrize(
    ("release", "layer", "how", "wanted"),
    [
        (SCOPE, 20, {"width": "16k", "l0": "canonical"}, "layer_20/width_16k/average_l0_71"),
        (SCOPE, 20, {"width": 16384, "l0": 70}, "layer_20/width_16k/average_l0_71"),
        (SCOPE, 20, {"width": "65k", "l0": 300}, "layer_20/width_65k/average_l0_221"),
        (SCOPE, 13, {"width": "16k", "l0": 128}, "layer_13/width_16k/average_l0_84"),  # 44 off; 173 is 45 off
        (f"{SCOPE}-canonical", 20, {"width": "16k"}, "layer_20/width_16k/canonical"),
        (f"{SCOPE}-canonical", 12, {"width": "1m", "l0": "canonical"}, "layer_12/width_1m/canonical"),
        ("gemma-scope-2-270m-pt-res", 12, {"width": "16k", "l0": "medium"}, "layer_12_width_16k_l0_medium"),
        ("gemma-scope-2-270m-pt-res", 12, {"width": "262k", "l0": "medium"}, "layer_12_width_262k_l0_medium"),
        ("gemma-scope-2-270m-pt-res", 12, {"width": "16k", "l0": 140}, "layer_12_width_16k_l0_big"),  # 150 by the entry
        ("gemma-scope-2-4b-it-res-all", 3, {"width": "262k", "l0": "small"}, "layer_3_width_262k_l0_small"),
        ("llama_scope_lxr_8x", 15, {"width": "8x"}, "l15r_8x"),
        ("llama_scope_lxr_8x", 15, {"l0": 50}, "l15r_8x"),
        ("qwen-scope-3-1.7b-base-w32k-l50", 7, {}, "layer7"),
        ("llama-3.1-8b-instruct-andyrdt", 15, {}, "resid_post_layer_15_trainer_1"),
        ("gemma-2b-res-jb", 10, {}, "blocks.10.hook_resid_post"),
        ("gpt2-small-res-jb", 10, {}, "blocks.11.hook_resid_pre"),  # what block 11 reads is the stream after block 10
        ("gpt2-small-res-jb-feature-splitting", 7, {"width": 768}, "blocks.8.hook_resid_pre_768"),
        ("goodfire-llama-3.1-8b-instruct", 19, {"l0": 91}, "layer_19"),
    ],
)
def test_width_and_l0_are_an_id_in_every_grammar(release: str, layer: int, how: dict[str, Any], wanted: str):
    assert chosen(release, layer, **how) == wanted


def test_of_two_as_near_the_sparser_is_taken():
    release = find_release(SCOPE)
    assert release is not None
    assert choose(release, 2, "16k", 97).id == "layer_2/width_16k/average_l0_53"  # 53 and 141 are both 44 off


def test_the_study_of_paper_a_says_its_26_saes_in_two_words():
    plain = yaml.safe_load((REPOSITORY / "config/studies/disparity-gemma-2-2b.yaml").read_text(encoding="utf-8"))
    saes = Saes.model_validate(plain["models"]["gemma-2-2b"]["saes"])
    assert saes.ids is None
    assert [sae_id(saes, layer) for layer in range(26)] == [standin_study.sae_id(layer) for layer in range(26)]


def test_every_release_on_the_residual_stream_resolves():
    """Each SAE of the directory that is one on the residual stream is what its own width and L0 choose."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    resolved = set()
    for name, known in get_pretrained_saes_directory().items():
        release = find_release(name)
        assert release is not None
        every = choices(release)
        on_stream = [one for one in known.saes_map if "resid_p" in one or "resid_p" in known.saes_map[one]]
        assert every or not on_stream, name
        if not every or name.startswith(SWEEPS):
            continue
        for one in every:
            l0 = one.l0 if one.l0 is None or isinstance(one.l0, str) else round(one.l0)
            assert choose(release, one.layer, one.width, l0) == one
        resolved.add(name)
    assert len(resolved) >= 50


@pytest.mark.parametrize(
    ("release", "layer", "how", "line"),
    [
        (SCOPE, 20, {"width": "17k", "l0": 70}, f"release {SCOPE} has no width 17k at layer 20; it has 16k, 65k"),
        (SCOPE, 26, {"width": "16k", "l0": 70}, r"has no layer 26; it has layers 0, 1, 2, .*, 25$"),
        (SCOPE, 20, {"l0": 70}, "has several widths at layer 20, 16k, 65k; say which in saes.width"),
        (SCOPE, 20, {"width": "16k"}, "has several l0 at layer 20, 22, 38, 71, 139, 294; say which in saes.l0"),
        (SCOPE, 20, {"width": "16k", "l0": "medium"}, "has no l0 medium at layer 20; it has 22, 38, 71, 139, 294"),
        (
            "gemma-scope-2-270m-pt-res",
            3,
            {"width": "16k", "l0": "medium"},
            "has no layer 3; it has layers 5, 9, 12, 15",
        ),
        ("gemma-scope-2-270m-pt-res", 5, {"width": "16k", "l0": "canonical"}, "no l0 canonical .* big, medium, small"),
        ("gemma-scope-2-270m-pt-res-all", 3, {"width": "16k", "l0": "medium"}, "no l0 medium .* it has big, small"),
        ("qwen-scope-3-1.7b-base-w32k-l50", 7, {"width": "32k"}, "its ids name none: leave saes.width out"),
        ("llama_scope_r1_distill", 3, {}, "do not tell l3r_400m_slimpajama_.* apart; give saes.ids"),
        ("gemma-scope-2b-pt-att", 3, {"width": "16k"}, "no SAE on the residual stream that width and l0 can name"),
        ("someone/saes", 3, {"width": "16k"}, "no release someone/saes, so width and l0 choose nothing"),
    ],
)
def test_what_a_release_lacks_is_one_line_with_what_it_has(release: str, layer: int, how: dict[str, Any], line: str):
    with pytest.raises(IsoglossError, match=line) as caught:
        chosen(release, layer, **how)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("saes", "line"),
    [
        ({"release": SCOPE, "width": "16k", "ids": "layer_{layer}"}, "give the one or the other"),
        ({"release": SCOPE, "l0": 70, "ids": {3: "layer_3"}}, "give the one or the other"),
        ({"source": {"folder": "saes"}, "width": "16k"}, "neither release nor ids"),
        ({"release": SCOPE, "width": "16k", "l0": "tiny"}, "canonical"),
    ],
)
def test_a_section_says_it_in_one_way(saes: dict[str, Any], line: str):
    with pytest.raises(ValidationError, match=line):
        Saes.model_validate(saes)


@pytest.mark.parametrize(
    ("width", "number"), [("16k", 16384), ("65k", 65536), ("131k", 131072), ("1m", 1048576), ("80k", 81920), (768, 768)]
)
def test_a_width_is_a_number_of_features(width: str | int, number: int):
    assert features(width) == number
    assert features("8x", 4096) == 32768


def test_a_width_that_is_none_is_one_line():
    with pytest.raises(IsoglossError, match=r"saes.width wide: no width; write it as the release does"):
        features("wide")
