import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from sentencepiece import SentencePieceProcessor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, M2M100ForConditionalGeneration

import hub as server
from isogloss.config.pretrained import Source
from isogloss.config.translation import Translation
from isogloss.errors import IsoglossError
from isogloss.sources.hub import licence_of, open_repository
from isogloss.sources.language_codes import model_code, write_codes
from isogloss.sources.multilingual import language_tokens, load_multilingual
from isogloss.sources.translator import fetch_multilingual
from marian import TEXTS, tiny_marian, written
from multilingual import FLORES, MADLAD, SAID, tiny_madlad, tiny_nllb

MAKE = {"nllb": tiny_nllb, "madlad": tiny_madlad}
PAIR = {"nllb": ("eng_Latn", "spa_Latn"), "madlad": ("en", "es")}
ENGINES = ("transformers", "ctranslate2")
ODD = {  # as tests of every backend have them: each must end in a status
    "blank": "   ",
    "no-break space": "\u00a0",
    "lines": "\n\n",
    "emoji": "👩‍👩‍👧 🎉",
    "right to left": "שלום עולם",
    "combining": "a\u0301\u0301\u0301",
    "nul": "a\x00b",
    "zero width": "\u200b",
    "long": "word " * 2500,
    "one word": "x" * 10000,
    "half a character": "a\ud83d",
    "end": "a</s>b",
    "opus": ">>fr<< hello",
    "nllb": "spa_Latn hello eng_Latn",
    "madlad": "<2es> hello <2zh>",
    "mask": "<mask> <pad> <s> <unk>",
    "bom": "\ufeffhello",
    "plain": "The year was 1999.",
}


def fetch(
    upstream: Path, output: Path, backend: str, engine: str = "ctranslate2", compute_type: str = "float32"
) -> Path:
    source = Source(folder=str(upstream))
    fetch_multilingual(source=source, backend=backend, engine=engine, compute_type=compute_type, output=str(output))
    return output


@pytest.fixture(scope="module", params=["nllb", "madlad"])
def fetched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A backend and the fetched folders of its made and its random stand-in."""
    backend, root = request.param, tmp_path_factory.mktemp(request.param)
    folders = [
        fetch(MAKE[backend](root / f"up{noise}", random_weights=noise), root / f"model{noise}", backend)
        for noise in (False, True)
    ]
    return backend, *folders


def load(folder: Path, backend: str, engine: str = "transformers", **more: Any) -> Any:
    settings = {"compute_type": "float32", "beam_size": 1, **more}
    source, target = settings.pop("pair", PAIR[backend])
    return load_multilingual(folder, backend=backend, source=source, target=target, engine=engine, **settings)


def some_texts(count: int) -> list[str]:
    random.seed(0)
    return [" ".join(random.choices(" ".join(TEXTS).split(), k=random.randint(1, 4))) for _ in range(count)]


@pytest.mark.parametrize("beam_size", [1, 4])
def test_our_batches_are_what_transformers_generates_text_by_text(fetched: Any, beam_size: int):
    """With upstream's own recipe: the tokenizer's call on NLLB, `<2xx> text` on MADLAD; both engines."""
    backend, _, noise = fetched
    texts, (source, target) = some_texts(12), PAIR[backend]
    plain = AutoModelForSeq2SeqLM.from_pretrained(noise)
    plain.generation_config.max_length = None
    if backend == "nllb":
        tokenizer = AutoTokenizer.from_pretrained(noise, src_lang=source)
        ids = [tokenizer(text)["input_ids"] for text in texts]
        forced = {"forced_bos_token_id": tokenizer.convert_tokens_to_ids(target)}
    else:
        pieces = SentencePieceProcessor(model_file=str(noise / "spiece.model"))
        ids, forced = [[*pieces.encode(f"<2{target}> {text}"), 2] for text in texts], {}
    given = 2 if forced else 1
    wanted = []
    for row in ids:
        made = plain.generate(
            torch.tensor([row]), num_beams=beam_size, do_sample=False, max_new_tokens=29 + given, **forced
        )
        tokens = made[0, given:].tolist()
        wanted.append(tokens[: tokens.index(2)] if 2 in tokens else tokens)
    assert len({tuple(tokens) for tokens in wanted}) > 9
    for engine in ENGINES:
        there, _ = load(noise, backend, engine, beam_size=beam_size)
        assert [there.pieces.encode(text) for text in texts] == ids
        assert there.engine.generate(ids, [30] * len(ids), lambda _: None, there.pieces.first) == wanted, engine


def test_the_target_language_moves_what_comes_out(fetched: Any):
    backend, _, noise = fetched
    outputs = []
    for target in (FLORES if backend == "nllb" else MADLAD)[2:4]:
        there, _ = load(noise, backend, "ctranslate2", pair=(PAIR[backend][0], target))
        outputs.append([output.text for output in there.translate(TEXTS[:3])])
    assert outputs[0] != outputs[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_texts_come_back_in_order_there_and_back(fetched: Any, engine: str):
    backend, made, _ = fetched
    there, back = load(made, backend, engine, beam_size=4)
    assert there.engine is back.engine
    outputs = there.translate(TEXTS)
    assert {output.status for output in outputs} == {"ok"}
    if backend == "nllb":
        assert [output.text for output in outputs] == [written(text, "es") for text in TEXTS]
        assert [output.text for output in back.translate([output.text for output in outputs])] == TEXTS
    else:
        assert {output.text for output in outputs} == {SAID}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_odd_text_ends_in_a_status(fetched: Any, engine: str):
    backend, made, _ = fetched
    there, _ = load(made, backend, engine)
    outputs = dict(zip(ODD, there.translate(list(ODD.values())), strict=True))
    assert {outputs[name].status for name in ("blank", "no-break space", "lines", "zero width")} == {"empty"}
    assert {outputs[name].status for name in ("long", "one word")} == {"too_long"}
    assert outputs["plain"].status == "ok"
    if backend == "nllb":
        for name in ("end", "opus", "nllb", "madlad", "mask"):
            assert outputs[name] == (written(ODD[name], "es"), "ok")


def test_what_looks_like_a_control_token_is_text(fetched: Any):
    backend, made, _ = fetched
    there, _ = load(made, backend)
    control = {0, 1, 2, 3} if backend == "nllb" else {0, 1, 2}
    control |= set(language_tokens(made, backend).values())
    bare = there.pieces.encode("")
    for name in ("end", "opus", "nllb", "madlad", "mask"):
        ids = there.pieces.encode(ODD[name])
        assert [number for number in ids if number in control] == [number for number in bare if number in control]


def test_plain_text_is_encoded_and_decoded_as_upstream_does_it(fetched: Any):
    backend, made, _ = fetched
    there, _ = load(made, backend)
    tokenizer = AutoTokenizer.from_pretrained(made) if backend == "nllb" else None
    whole = SentencePieceProcessor(model_file=str(next(made.glob("*.model"))))
    for text in [*TEXTS, "", "it's (so) - good!"]:
        ids = there.pieces.encode(text)
        if tokenizer is not None:
            assert ids == tokenizer(text)["input_ids"]
            assert there.pieces.decode(ids) == tokenizer.decode(ids, skip_special_tokens=True)
        else:
            assert ids == [*whole.encode(f"<2es> {text}"), 2]
        assert there.pieces.decode(ids) == " ".join(text.split())


def test_the_older_nllb_reads_the_language_after_the_text(tmp_path: Path):
    folder = fetch(tiny_nllb(tmp_path / "up", legacy=True), tmp_path / "model", "nllb", "transformers")
    there, _ = load(folder, "nllb")
    ids = there.pieces.encode("Hindi")
    assert ids == AutoTokenizer.from_pretrained(folder, src_lang="eng_Latn")("Hindi")["input_ids"]
    assert ids[-2:] == [2, language_tokens(folder, "nllb")["eng_Latn"]]


@pytest.mark.parametrize("backend", ["nllb", "madlad"])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_never_ends_is_a_runaway_and_a_source_of_just_the_length_is_read(
    tmp_path: Path, backend: str, engine: str
):
    folder = fetch(MAKE[backend](tmp_path / "up", ends=False), tmp_path / "model", backend)
    there, _ = load(folder, backend, engine)
    lone = there.translate(["Euro"])[0]
    assert lone.status == "runaway"
    assert 3 * 5 <= len(lone.text) <= 3 * 8 + 20
    bare = len(there.pieces.encode("x")) - 1
    assert there.pieces.context == 512
    assert [output.status for output in there.translate(["x" * (512 - bare), "x" * (513 - bare)])] == [
        "runaway",
        "too_long",
    ]


def test_pickled_weights_become_safetensors_and_the_record_has_the_licence(tmp_path: Path):
    upstream = tiny_nllb(tmp_path / "up")
    weights = torch.load(upstream / "pytorch_model.bin", weights_only=True)
    folder = fetch(upstream, tmp_path / "model", "nllb", "ctranslate2", "int8")
    assert not (folder / "pytorch_model.bin").exists()
    made = M2M100ForConditionalGeneration.from_pretrained(folder, use_safetensors=True).state_dict()
    assert all(torch.equal(made[name], weights[name]) for name in weights)
    record = json.loads((folder / "fetched.json").read_text())
    assert (record["licence"], record["backend"], record["compute_type"]) == ("cc-by-nc-4.0", "nllb", "int8")
    assert load(folder, "nllb", "ctranslate2", compute_type="int8")[0].translate(["Hindi"])[0].text == written(
        "Hindi", "es"
    )


def test_pickled_weights_in_several_files_come_from_the_hub_at_a_commit(tmp_path: Path):
    upstream = tiny_nllb(tmp_path / "up")
    weights = torch.load(upstream / "pytorch_model.bin", weights_only=True)
    (upstream / "pytorch_model.bin").unlink()
    shards = {name: f"pytorch_model-0000{1 + number % 2}-of-00002.bin" for number, name in enumerate(weights)}
    for shard in set(shards.values()):
        torch.save({name: weights[name].clone() for name in weights if shards[name] == shard}, upstream / shard)
    index = {"metadata": {}, "weight_map": shards}
    (upstream / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    arguments = {"source": Source(id="a/b"), "backend": "nllb", "engine": "ctranslate2", "compute_type": "float32"}
    with server.serving() as hub:
        commit = hub.add("a/b", upstream)
        (line,) = server.call(
            "isogloss.sources.translator:fetch_multilingual",
            hub.url,
            tmp_path / "cache",
            {**arguments, "output": str(tmp_path / "out")},
        )
    assert line == ""
    record = json.loads((tmp_path / "out/fetched.json").read_text())
    assert (record["revision"], record["licence"]) == (commit, "cc-by-nc-4.0")
    assert load(tmp_path / "out", "nllb", "ctranslate2")[0].translate(["Euro"])[0].text == written("Euro", "es")


def test_weights_in_several_files_are_all_taken(tmp_path: Path):
    upstream = tiny_madlad(tmp_path / "up")
    config = (upstream / "config.json").read_text()
    model = AutoModelForSeq2SeqLM.from_pretrained(upstream)
    (upstream / "model.safetensors").unlink()
    model.save_pretrained(upstream, max_shard_size="20KB")
    (upstream / "config.json").write_text(config)
    folder = fetch(upstream, tmp_path / "out", "madlad")
    assert load(folder, "madlad", "transformers")[0].translate(["Euro"])[0].text == SAID
    lost = sorted(upstream.glob("model-*.safetensors"))[-1]
    lost.unlink()
    message = rf"{re.escape(lost.name)} not there, of \d+ files that model\.safetensors\.index\.json names"
    with pytest.raises(IsoglossError, match=message):
        fetch(upstream, tmp_path / "again", "madlad")


def test_pickled_code_is_not_run(tmp_path: Path):
    upstream = tiny_nllb(tmp_path / "up")

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "was-here",))

    torch.save({"weight": Evil()}, upstream / "pytorch_model.bin")
    with pytest.raises(IsoglossError, match=r"pytorch_model\.bin: not a whole file of tensors"):
        fetch(upstream, tmp_path / "out", "nllb")
    assert not (tmp_path / "was-here").exists()


def test_a_model_of_another_kind_is_one_line(tmp_path: Path):
    folders = {
        "opus-mt": tiny_marian(tmp_path / "opus", target_lang="es"),
        "nllb": tiny_nllb(tmp_path / "nllb"),
        "madlad": tiny_madlad(tmp_path / "madlad"),
    }
    for backend in ("nllb", "madlad"):
        for other in folders.keys() - {backend}:
            mend = rf"model_type '\w+', not \w+; give .*, or set translation\.backend {other}$"
            with pytest.raises(IsoglossError, match=mend):
                fetch(folders[other], tmp_path / "out", backend)
    none = tiny_madlad(tmp_path / "flan", languages=[])
    with pytest.raises(IsoglossError, match="its tokens name no languages; give MADLAD-400"):
        fetch(none, tmp_path / "out", "madlad")
    with pytest.raises(IsoglossError, match="its tokens name no languages; give NLLB-200"):
        fetch(tiny_nllb(tmp_path / "m2m", languages=["__en__", "__es__"]), tmp_path / "out", "nllb")
    (folders["nllb"] / "sentencepiece.bpe.model").unlink()
    with pytest.raises(IsoglossError, match=r"sentencepiece\.bpe\.model not there; a model for backend nllb has"):
        fetch(folders["nllb"], tmp_path / "out", "nllb")
    (folders["madlad"] / "spiece.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(IsoglossError, match=r"spiece\.model: no SentencePiece model; fetch it again"):
        fetch(folders["madlad"], tmp_path / "out", "madlad")
    assert not (tmp_path / "out").exists()


def test_weights_cut_off_are_one_line(tmp_path: Path):
    upstream = tiny_madlad(tmp_path / "up")
    weights = upstream / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for engine in ENGINES:
        with pytest.raises(IsoglossError, match=r"model\.safetensors is damaged: not a whole safetensors file"):
            fetch(upstream, tmp_path / "out", "madlad", engine)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compute_type": "int8"}, "int8 needs translation.engine ctranslate2"),
        ({"engine": "ctranslate2", "compute_type": "int4"}, "int4: CTranslate2 has it not .* take one of .*float32"),
        ({"pair": ("eng_Latn", "xxx_Latn")}, "the model has no language xxx_Latn; fetch it again"),
    ],
)
def test_what_the_engine_or_the_model_lacks_is_named(tmp_path: Path, settings: dict[str, Any], message: str):
    folder = fetch(tiny_nllb(tmp_path / "up"), tmp_path / "model", "nllb")
    with pytest.raises(IsoglossError, match=message):
        load(folder, "nllb", **settings)


@pytest.mark.parametrize(
    ("lang", "code"),
    [
        ("en", "en"), ("zh", "zh"), ("nb", "no"), ("tl", "fil"), ("bn", "bn"), ("bn-Latn", "bn_Latn"),
        ("zh-Hans", "zh"), ("es-MX", "es"), ("zh-SG", "zh"),
        ("zh-TW", None), ("pt-BR", None), ("zh-Hant", None), ("hi-Latn", None), ("sw", None),
    ],
)  # fmt: skip
def test_codes_of_madlad_are_tags_without_region_and_usual_script(lang: str, code: str | None):
    if code is not None:
        assert model_code(lang, MADLAD, "madlad", own=None, flores=None) == code
        return
    with pytest.raises(IsoglossError, match=rf"the madlad model has no token for {lang}; it has .*: set") as caught:
        model_code(lang, MADLAD, "madlad", own=None, flores=None)
    assert "\n" not in str(caught.value)


def test_codes_of_nllb_are_those_of_flores_and_a_study_may_give_its_own(tmp_path: Path):
    folder = fetch(tiny_nllb(tmp_path / "up"), tmp_path / "model", "nllb", "transformers")
    work: dict[str, Any] = {"translator": str(folder), "backend": "nllb", "source_lang": "en", "lang": "zh"}
    work |= {"flores": {"en": "eng_Latn", "zh": "zho_Hans", "it": "ita_Latn", "xx": None}, "codes": {}}
    write_codes(**work, output=str(tmp_path / "zh.json"))
    assert json.loads((tmp_path / "zh.json").read_text()) == {"source": "eng_Latn", "target": "zho_Hans"}
    write_codes(**work | {"codes": {"zh": "zho_Hant"}}, output=str(tmp_path / "zh.json"))
    assert json.loads((tmp_path / "zh.json").read_text())["target"] == "zho_Hant"
    for lang, codes, message in (
        (
            "it",
            {},
            r"the nllb model has no token for it; it has eng_Latn, .*: set translation\.codes\.it",
        ),
        ("xx", {}, r"no token for xx; it has eng_Latn"),
        ("zh", {"zh": "zh"}, r"no code 'zh' \(translation\.codes\.zh\); it has zho_Hans, zho_Hant: correct"),
    ):
        with pytest.raises(IsoglossError, match=message):
            write_codes(**work | {"lang": lang, "codes": codes}, output=str(tmp_path / "no.json"))
    assert not (tmp_path / "no.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "nllb"}, "backend nllb needs model, one for all languages"),
        (
            {"backend": "madlad", "model": {"id": "a/b"}, "models": {"es": {"source": {"id": "a/b"}}}},
            "no models, but",
        ),
        ({"backend": "opus-mt", "model": {"id": "a/b"}}, "model: for the backends nllb and madlad only, not opus-mt"),
        ({"codes": {"zh": "zho_Hans"}}, "codes: for the backends nllb and madlad only, not parallel"),
        ({"backend": "nllb", "model": {"id": "a/b"}, "codes": {"xx": "x"}}, "unknown language 'xx'"),
        (
            {"backend": "nllb", "model": {"id": "a/b"}, "round_trip": False, "minimum_chrf": 30},
            "minimum_chrf needs round_trip",
        ),
        (
            {"backend": "madlad", "model": {"id": "a/b"}, "engine": "transformers", "compute_type": "int8"},
            "compute_type int8 needs engine ctranslate2",
        ),
    ],
)
def test_settings_that_say_nothing_to_a_backend_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Translation.model_validate(settings)


def test_a_round_trip_is_scored_unless_the_study_says_no():
    settings = Translation.model_validate({"backend": "nllb", "model": {"id": "a/b"}, "minimum_chrf": 30})
    assert settings.round_trip


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: cc-by-sa-4.0\n---\n# Title\n", "cc-by-sa-4.0"),
        ("---\r\nlicense: mit\r\n---\r\ntext", "mit"),
        ("---\nlicense: other\nlicense_name: gemma\n---\n", "gemma"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\nlanguage: no\n---\nlicense: mit\n", None),
        ("# Title\n---\nlicense: mit\n---\n", None),
        ("---\nlicense: mit\n", None),
        ("---\n: [\n---\n", None),
        ("", None),
        (None, None),
    ],
)
def test_the_licence_is_what_the_card_says_first(tmp_path: Path, card: str | None, licence: str | None):
    if card is not None:
        (tmp_path / "README.md").write_bytes(card.encode())
    assert licence_of(open_repository(Source(folder=str(tmp_path)))) == licence
