import random
import string

import pytest
import torch
from transformers import MarianTokenizer

from isogloss.errors import IsoglossError
from isogloss.sources import translation_engine
from isogloss.sources.opus import load_opus
from isogloss.sources.translation_model import loops
from marian import TEXTS, random_marian, tiny_marian, written

LIKE_THESE = ["The year was 1999.", "Hindi", "pay in (2 or 3) yen; it is Euro!", *TEXTS]


def converted(folder, compute_type="float32"):
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"), quantization=compute_type, force=True)
    return folder


@pytest.fixture(scope="module")
def spanish(tmp_path_factory):
    return converted(tiny_marian(tmp_path_factory.mktemp("es"), target_lang="es"))


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return converted(random_marian(tmp_path_factory.mktemp("noise")))


def model(folder, engine="transformers", target=None, compute_type="float32", beam_size=1):
    return load_opus(folder, target=target, engine=engine, compute_type=compute_type, beam_size=beam_size)


def generated(folder, texts, engine, beam_size):
    made = model(folder, engine, beam_size=beam_size)
    sources = [made.pieces.encode(text) for text in texts]
    return made.engine.generate(sources, [3 * len(ids) + 20 for ids in sources], lambda _: None)


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_translations_come_in_the_order_of_the_texts_and_whatever_ends_is_ok(spanish, engine, beam_size, monkeypatch):
    monkeypatch.setitem(translation_engine._BATCH, "cpu", 40)
    done = []
    outputs = model(spanish, engine, beam_size=beam_size).translate(LIKE_THESE, done.append)
    assert [output.text for output in outputs] == [written(text, "es") for text in LIKE_THESE]
    assert {output.status for output in outputs} == {"ok"}
    assert sum(done) == len(LIKE_THESE)
    assert len(done) > 3


def test_int8_weights_translate_too(spanish, tmp_path):
    folder = converted(tiny_marian(tmp_path, target_lang="es"), "int8")
    assert model(folder, "ctranslate2", compute_type="int8").translate([TEXTS[0]])[0].text == written(TEXTS[0], "es")


def test_both_engines_decode_greedily_to_the_same_tokens_and_differ_little_with_beams(noise):
    random.seed(0)
    texts = [" ".join(random.choices(" ".join(TEXTS).split(), k=random.randint(1, 12))) for _ in range(60)]
    greedy = [generated(noise, texts, engine, 1) for engine in ("transformers", "ctranslate2")]
    assert len({tuple(ids) for ids in greedy[0]}) > 30
    assert greedy[0] == greedy[1]
    beams = [generated(noise, texts, engine, 4) for engine in ("transformers", "ctranslate2")]
    heads = [a[: min(len(a), len(b)) // 2] == b[: min(len(a), len(b)) // 2] for a, b in zip(*beams, strict=True)]
    assert sum(heads) > len(texts) / 2


def test_a_batch_gives_what_each_text_gives_alone(noise):
    made = model(noise)
    together = made.translate(LIKE_THESE[:4])
    assert together == [made.translate([text])[0] for text in LIKE_THESE[:4]]


def test_what_transformers_generates_with_its_own_defaults_is_what_comes_out(spanish):
    from transformers import MarianMTModel

    tokenizer, plain = MarianTokenizer.from_pretrained(spanish), MarianMTModel.from_pretrained(spanish)
    ids = plain.generate(**tokenizer(LIKE_THESE, return_tensors="pt", padding=True), num_beams=4)
    theirs = tokenizer.batch_decode(ids, skip_special_tokens=True, use_source_tokenizer=False)
    assert [output.text for output in model(spanish, beam_size=4).translate(LIKE_THESE)] == theirs


def test_plain_text_is_encoded_as_the_tokenizer_does_it(spanish):
    tokenizer = MarianTokenizer.from_pretrained(spanish)
    texts = [*LIKE_THESE, "a\nb  c", "भारत", " blank ", ""]
    made = model(spanish)
    assert [made.pieces.encode(text) for text in texts] == [tokenizer(text)["input_ids"] for text in texts]


@pytest.mark.parametrize("text", ["cout >> x << y", ">>a<< b", "the end</s> of it", "<unk> is <pad>"])
def test_what_looks_like_a_control_token_is_text(spanish, text):
    made = model(spanish)
    ids = made.pieces.encode(text)
    assert ids.count(0) == 1
    assert 1 not in ids
    assert made.translate([text])[0].text == written(text, "es")


def test_the_language_code_comes_first_and_several_targets_need_one(tmp_path):
    folder = tiny_marian(tmp_path, target_lang="zh", targets=["cmn_Hans", "yue"])
    assert model(folder, target="yue").translate(["The year"])[0].text == "yue " + written("The year", "zh")
    with pytest.raises(IsoglossError, match="several target languages; set target to one of cmn_Hans, yue"):
        model(folder)
    with pytest.raises(IsoglossError, match="knows no target 'zho'; it has cmn_Hans, yue"):
        model(folder, target="zho")


def test_a_code_for_a_model_of_one_language_is_refused(spanish):
    with pytest.raises(IsoglossError, match="knows no target 'es'; it has one target language: leave target out"):
        model(spanish, target="es")


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_a_text_that_the_model_cannot_read_is_left_out_and_one_of_just_its_length_is_not(spanish, engine):
    made = model(spanish, engine)
    fits = "(Q)" * 170
    assert len(made.pieces.encode(fits)) == 512
    outputs = made.translate([fits, fits + "(", "Hindi"])
    assert [output.status for output in outputs] == ["ok", "too_long", "ok"]
    assert outputs[1].text == ""


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_blank_texts_and_blank_outputs_are_empty(spanish, engine):
    outputs = model(spanish, engine).translate(["", " \n", "भारत", "Hindi"])
    assert [output.status for output in outputs] == ["empty", "empty", "empty", "ok"]


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_an_output_that_does_not_end_is_a_runaway_and_stops_at_its_limit(tmp_path, engine):
    folder = converted(tiny_marian(tmp_path, target_lang="es", ends=False))
    output = model(folder, engine).translate(["The currency of Austria"])[0]
    assert output.status == "runaway"
    assert len(output.text.split()) == 3 * 5 + 20


@pytest.mark.parametrize(
    ("output", "source", "expected"),
    [
        ([5] * 8, [7, 8, 9], True),
        ([5] * 7, [7, 8, 9], False),
        ([1, 2, 3, 4, 9] * 5, [7, 8, 9], True),
        ([1, 2, 3, 4, 9] * 4, [7, 8, 9], False),
        ([5] * 20, [6] * 20, False),
        ([5] * 60, [6] * 20, True),
        ([], [1], False),
        (list(range(100)), [1], False),
    ],
)
def test_a_loop_is_four_tokens_five_times_unless_the_source_does_it_too(output, source, expected):
    def most(ids):
        return max(
            [sum(ids[i : i + 4] == ids[j : j + 4] for j in range(len(ids) - 3)) for i in range(len(ids) - 3)], default=0
        )

    assert loops(output, source) is expected
    assert (most(output) >= 5 and most(output) > 2 * most(source)) is expected


def test_any_ascii_ends(spanish):
    random.seed(1)
    texts = ["".join(random.choices(string.printable[:95], k=random.randint(1, 120))) for _ in range(30)]
    assert {output.status for output in model(spanish, "ctranslate2", beam_size=4).translate(texts)} <= {"ok", "empty"}


def test_less_memory_means_smaller_batches_and_the_same_outputs(spanish, monkeypatch):
    made = model(spanish)
    whole, sizes, generate = made.translate(LIKE_THESE), [], made.engine._model.generate

    def small(*, input_ids, **more):
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError
        sizes.append(len(input_ids))
        return generate(input_ids=input_ids, **more)

    monkeypatch.setattr(made.engine._model, "generate", small)
    assert made.translate(LIKE_THESE) == whole
    assert max(sizes) <= 2


def test_less_memory_means_smaller_batches_with_ctranslate2_too(spanish, monkeypatch):
    made = model(spanish, "ctranslate2")
    whole, sizes, start = made.translate(LIKE_THESE), [], made.engine._start

    class Failed:
        def result(self):
            raise RuntimeError("CUDA failed with error out of memory")

    def small(sources, limits, rows, first):
        sizes.append(len(rows))
        return [Failed()] * len(rows) if len(rows) > 2 else start(sources, limits, rows, first)

    monkeypatch.setattr(made.engine, "_start", small)
    assert made.translate(LIKE_THESE) == whole
    assert max(sizes) > 2
    monkeypatch.setattr(made.engine, "_start", lambda sources, limits, rows, first: [Failed()] * len(rows))
    with pytest.raises(IsoglossError, match=r"out of GPU memory on a single text .* lower translation\.beam_size"):
        made.translate(LIKE_THESE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compute_type": "int8"}, "int8 needs translation.engine ctranslate2"),
        ({"engine": "ctranslate2", "compute_type": "int4"}, "int4: CTranslate2 has it not .* take one of .*float32"),
    ],
)
def test_compute_types_that_are_not_there_are_named(spanish, settings, message):
    with pytest.raises(IsoglossError, match=message):
        model(spanish, **settings)


def test_a_folder_without_model_says_what_lacks(tmp_path):
    with pytest.raises(IsoglossError, match=r"no config\.json there"):
        model(tmp_path)
    tiny_marian(tmp_path, target_lang="es")
    with pytest.raises(IsoglossError, match=r"no model\.bin there; fetch the translator again"):
        model(tmp_path, "ctranslate2")


def test_the_way_there_and_back_returns_the_text(tmp_path, spanish):
    back = model(tiny_marian(tmp_path, source_lang="es", target_lang="en"))
    there = [output.text for output in model(spanish).translate(LIKE_THESE)]
    assert [output.text for output in back.translate(there)] == LIKE_THESE
