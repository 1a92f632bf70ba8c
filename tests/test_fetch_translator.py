import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, MarianMTModel

import hub as server
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.sources.translator import fetch_translator
from marian import tiny_marian, written

TEXT = "The currency of Austria is Euro"


def fetch(tmp_path: Path, folder: Path, **changed: Any) -> Path:
    output = tmp_path / "results" / "to"
    arguments = {
        "source": {"id": None, "revision": "main", "folder": str(folder)},
        "target": None,
        "engine": "transformers",
        "compute_type": "float32",
        "source_lang": "en",
        "target_lang": "es",
        "output": str(output),
    }
    arguments |= changed
    if arguments["source"]:
        arguments["source"] = Source(**arguments["source"])
    fetch_translator(**arguments)
    return output


def translated(folder: Path, text: str = TEXT) -> str:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = MarianMTModel.from_pretrained(folder).generate(**tokenizer(text, return_tensors="pt"))  # type: ignore[operator]
    return tokenizer.decode(made[0], skip_special_tokens=True)


def test_a_model_with_safetensors_is_linked_and_translates(tmp_path: Path):
    upstream = tiny_marian(tmp_path / "upstream", target_lang="es")
    (upstream / "tf_model.h5").write_bytes(b"another framework's")
    output = fetch(tmp_path, upstream)
    links = {path.name for path in output.iterdir() if path.is_symlink()}
    needed = {"config.json", "tokenizer_config.json", "vocab.json", "source.spm", "target.spm", "model.safetensors"}
    assert needed | {"generation_config.json"} == links
    assert translated(output) == written(TEXT, "es")


def test_pickled_weights_become_safetensors_and_upstream_stays_as_it_was(tmp_path: Path):
    upstream = tiny_marian(tmp_path / "upstream", target_lang="es", pickled=True)
    before = {path.name: path.read_bytes() for path in upstream.iterdir()}
    weights = MarianMTModel.from_pretrained(upstream).state_dict()
    output = fetch(tmp_path, upstream)
    assert {path.name: path.read_bytes() for path in upstream.iterdir()} == before
    assert not (output / "pytorch_model.bin").exists()
    assert not (output / "model.safetensors").is_symlink()
    read = MarianMTModel.from_pretrained(output, use_safetensors=True).state_dict()
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)
    assert translated(output) == translated(upstream) == written(TEXT, "es")
    record = json.loads((output / "fetched.json").read_text())
    assert record["files"]["pytorch_model.bin"]["bytes"] == len(before["pytorch_model.bin"])
    assert not [path for path in output.iterdir() if path.is_dir()]


def test_a_model_of_the_hub_comes_at_its_commit_with_pickled_weights_read_as_tensors(tmp_path: Path):
    upstream = tiny_marian(tmp_path / "upstream", target_lang="es", pickled=True)
    with server.serving() as hub:
        commit = hub.add("Helsinki-NLP/opus-mt-en-es", upstream)
        (line,) = server.call(
            "isogloss.sources.translator:fetch_translator",
            hub.url,
            tmp_path / "cache",
            {
                "source": Source(id="Helsinki-NLP/opus-mt-en-es"),
                "target": None,
                "engine": "ctranslate2",
                "compute_type": "int8",
                "source_lang": "en",
                "target_lang": "es",
                "output": str(tmp_path / "out"),
            },
        )
    assert line == ""
    assert json.loads((tmp_path / "out/fetched.json").read_text())["revision"] == commit
    assert translated(tmp_path / "out") == written(TEXT, "es")
    assert (tmp_path / "out/ctranslate2/model.bin").is_file()


@pytest.mark.parametrize("compute_type", ["float32", "int8"])
def test_converted_for_ctranslate2_it_translates_the_same(tmp_path: Path, compute_type: str):
    ctranslate2 = pytest.importorskip("ctranslate2")
    upstream = tiny_marian(tmp_path / "upstream", target_lang="es", pickled=True)
    output = fetch(tmp_path, upstream, engine="ctranslate2", compute_type=compute_type)
    tokenizer = AutoTokenizer.from_pretrained(output)
    pieces = tokenizer.convert_ids_to_tokens(tokenizer(TEXT)["input_ids"])
    translator = ctranslate2.Translator(str(output / "ctranslate2"), compute_type=compute_type)
    best = translator.translate_batch([pieces])[0].hypotheses[0]
    assert tokenizer.decode(tokenizer.convert_tokens_to_ids(best)) == written(TEXT, "es")


def test_pickled_code_is_not_run(tmp_path: Path):
    upstream = tiny_marian(tmp_path / "upstream", target_lang="es", pickled=True)

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "was-here",))

    torch.save({"weight": Evil()}, upstream / "pytorch_model.bin")
    with pytest.raises(IsoglossError, match=r"pytorch_model\.bin: not a whole file of tensors") as caught:
        fetch(tmp_path, upstream)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "was-here").exists()
    (upstream / "pytorch_model.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(IsoglossError, match=r"pytorch_model\.bin: not a whole file of tensors"):
        fetch(tmp_path, upstream)


def test_pickled_weights_that_lack_a_matrix_are_not_filled_up(tmp_path: Path):
    upstream = tiny_marian(tmp_path / "upstream", target_lang="es", pickled=True)
    weights = torch.load(upstream / "pytorch_model.bin", weights_only=True)
    del weights["model.encoder.layers.0.fc1.weight"]
    torch.save(weights, upstream / "pytorch_model.bin")
    with pytest.raises(IsoglossError, match=r"no model\.encoder\.layers\.0\.fc1\.weight; give a whole model"):
        fetch(tmp_path, upstream)


@pytest.mark.parametrize(
    ("declared", "name", "lang", "direction", "fits"),
    [
        (("en", "es"), None, "es", "to", True),
        (("en", "es"), None, "es", "from", False),
        (("es", "en"), None, "es", "from", True),
        (("en", "es"), None, "it", "to", False),
        (("eng", "zho"), None, "zh", "to", True),  # CLDR's aliases
        (("eng", "cmn_Hans"), None, "zh", "to", True),
        (("eng", "rus"), None, "zh", "to", False),
        (("en", "ROMANCE"), None, "es", "to", True),  # a group of languages is not compared
        ((None, None), "Helsinki-NLP/opus-mt-en-es", "es", "to", True),
        ((None, None), "Helsinki-NLP/opus-mt-en-es", "it", "to", False),
        ((None, None), "Helsinki-NLP/opus-mt-tc-big-en-ko", "it", "to", False),
        ((None, None), "someone/my-translator", "it", "to", True),
    ],
)
def test_a_model_of_another_pair_of_languages_is_refused(
    tmp_path: Path, declared: tuple[str | None, str | None], name: str | None, lang: str, direction: str, fits: bool
):
    upstream = tiny_marian(tmp_path / "upstream", target_lang="es")
    pair = {"source_lang": declared[0], "target_lang": declared[1]}
    (upstream / "tokenizer_config.json").write_text(json.dumps(pair))
    source_lang, target_lang = ("en", lang) if direction == "to" else (lang, "en")
    wanted = {"source": {"id": name, "folder": str(upstream)}, "source_lang": source_lang, "target_lang": target_lang}
    if fits:
        fetch(tmp_path, upstream, **wanted)
    else:
        asked = f"en to {lang}" if direction == "to" else f"{lang} to en"
        with pytest.raises(IsoglossError, match=rf"translates \w+ to \w+, wanted is {asked}; give the model"):
            fetch(tmp_path, upstream, **wanted)


def test_a_multi_target_model_needs_a_target_that_it_knows(tmp_path: Path):
    codes = ["cmn_Hans", "cmn_Hant", "yue", "spa"]
    upstream = tiny_marian(tmp_path / "upstream", target_lang="zh", targets=codes)
    assert len(AutoTokenizer.from_pretrained(upstream).supported_language_codes) == len(codes)
    listed = "cmn_Hans, cmn_Hant, spa, yue"
    with pytest.raises(IsoglossError, match=rf"translates to several languages; give `target`, one of {listed}"):
        fetch(tmp_path, upstream, target_lang="zh")
    with pytest.raises(IsoglossError, match=rf"no target 'zh'; it knows {listed}"):
        fetch(tmp_path, upstream, target_lang="zh", target="zh")
    with pytest.raises(IsoglossError, match=r"target 'spa' is not zh; give one of that language"):
        fetch(tmp_path, upstream, target_lang="zh", target="spa")
    fetch(tmp_path, upstream, target_lang="zh", target="yue")
    output = fetch(tmp_path, upstream, target_lang="zh", target="cmn_Hans")
    assert json.loads((output / "fetched.json").read_text())["target"] == "cmn_Hans"
    single = tiny_marian(tmp_path / "single", target_lang="es")
    with pytest.raises(IsoglossError, match=r"no target 'spa'; it has one language and needs no `target`"):
        fetch(tmp_path, single, target="spa")


def test_what_is_no_whole_marian_is_one_clear_line(tmp_path: Path):
    upstream = tiny_marian(tmp_path / "upstream", target_lang="es")
    config = (upstream / "config.json").read_text()
    (upstream / "config.json").write_text(json.dumps(json.loads(config) | {"model_type": "m2m_100"}))
    with pytest.raises(
        IsoglossError, match=r"model_type 'm2m_100', not marian; give OPUS-MT .* or set translation\.backend nllb"
    ):
        fetch(tmp_path, upstream)
    (upstream / "config.json").write_text(config[: len(config) // 2])
    with pytest.raises(IsoglossError, match=r"config\.json: not valid JSON"):
        fetch(tmp_path, upstream)
    (upstream / "config.json").write_text(config)
    (upstream / "model.safetensors").unlink()
    with pytest.raises(IsoglossError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        fetch(tmp_path, upstream)
    (upstream / "target.spm").unlink()
    with pytest.raises(IsoglossError, match=r"target\.spm not there; a model for backend opus-mt has"):
        fetch(tmp_path, upstream)
    assert not (tmp_path / "results" / "to").exists()
