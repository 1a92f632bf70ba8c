"""What comes from elsewhere runs nothing, leads nowhere else, fills no memory, and no secret is written."""

import ast
import copy
import gzip
import json
import re
import struct
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import hub as server
import sae_standins
from checkout import REPOSITORY, Checkout
from isogloss.config import load_study
from isogloss.config.files import read_file
from isogloss.config.model import Shape
from isogloss.config.pretrained import Saes, Source
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_causal_model
from isogloss.sources import archives
from isogloss.sources.archives import check_expansion
from isogloss.sources.cards import read_card
from isogloss.sources.data_sets import read_configuration
from isogloss.sources.hub import licence_of, open_repository
from isogloss.sources.model import fetch_model
from isogloss.sources.saes.fetch import fetch_sae
from isogloss.sources.task_registry import _Loader
from sae_standins import D_MODEL, FEATURES, LAYER
from standin_any_study import build, merged
from standins import tiny_gemma2

PACKAGE = REPOSITORY / "workflow" / "scripts" / "isogloss"
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz01234567"
PASSWORD = "geheim0815"
SHAPE = Shape(layers=3, d_model=32, d_mlp=64, heads=2, key_value_heads=1, d_head=16, vocabulary=320)
ARGUMENTS = ("trust_remote_code", "shell", "allow_pickle", "weights_only", "Loader")
SUSPECT = re.compile(r"\b(eval|exec|system|popen|extractall)\(|load\(|loads\(|_load\(|pickle|remote_code|shell=")


class Payload:
    """What a pickle runs that is loaded as one."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that appears if something from elsewhere is run."""
    return tmp_path / "canary"


def sae(root: Path, path: str, output: Path) -> None:
    saes = Saes.model_validate({"source": {"folder": str(root), "id": sae_standins.QWEN}, "ids": {LAYER: path}})
    fetch_sae(saes=saes, sae_id=path, layer=LAYER, d_model=D_MODEL, model=None, output=str(output))


def refused(action: Callable[[], Any], line: str) -> None:
    with pytest.raises(IsoglossError, match=line) as caught:
        action()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_package_calls_nothing_that_runs_what_it_reads():
    """Pickles, code of models, shells: by name, in any module; torch and NumPy are told what they may load."""
    wrong = []
    for path in PACKAGE.parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        calls = (
            (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)) if SUSPECT.search(text) else ()
        )
        for node in calls:
            name = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
            given = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg in ARGUMENTS}
            forbidden = (
                name in ("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads")
                or (name == "yaml.load" and given.get("Loader") != "_Loader")
                or name.rpartition(".")[2] in ("extractall", "unsafe_load", "full_load", "read_pickle")
                or "True" in (given.get("trust_remote_code"), given.get("shell"), given.get("allow_pickle"))
                or (name == "torch.load" and given.get("weights_only") != "True")
                or (name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False")
            )
            if forbidden:
                wrong.append(f"{path.relative_to(PACKAGE.parent)}:{node.lineno}: {name}")
    assert not wrong
    assert issubclass(_Loader, yaml.SafeLoader)


@pytest.mark.parametrize("layout", ["ae.pt", "sae.pt", "npz of objects", "npz that is a pickle", "legacy", "cfg"])
def test_no_file_of_an_sae_runs_code(tmp_path: Path, canary: Path, layout: str):
    root, path, evil = tmp_path / "saes", f"layer_{LAYER}/width_16k/average_l0_82", Payload(canary)
    if layout in ("ae.pt", "legacy"):
        sae_standins.dictionary_learning(root, path)
        torch.save({"encoder.weight": evil}, root / path / "ae.pt", _use_new_zipfile_serialization=layout == "ae.pt")
    elif layout == "sae.pt":
        path = f"layer{LAYER}.sae.pt"
        root.mkdir()
        torch.save({"W_enc": evil}, root / path)
    elif layout == "cfg":
        sae_standins.gemma_scope_2(root, path)
        (root / path / "config.json").write_bytes(b"!!python/object/apply:os.system ['touch canary']")
    else:
        sae_standins.gemma_scope(root, path)
        if layout == "npz of objects":
            np.savez(root / path / "params.npz", w_enc=np.array([evil], dtype=object))
        else:
            torch.save(evil, root / path / "params.npz", _use_new_zipfile_serialization=False)
    refused(
        lambda: sae(root, path, tmp_path / "out"), r"(code in it is not run|no whole file of tensors|no JSON object)"
    )
    assert not canary.exists()
    assert not (tmp_path / "out").exists()


def evil_code(folder: Path, canary: Path) -> None:
    """Code beside a model, as custom architectures and tokenizers bring it, and the keys that ask for it."""
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w').close()\nclass Evil: ...\n")
    names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoTokenizer")
    for name in ("config.json", "tokenizer_config.json"):
        config = json.loads((folder / name).read_text())
        auto = {key: ["evil.Evil", "evil.Evil"] if key == "AutoTokenizer" else "evil.Evil" for key in names}
        (folder / name).write_text(json.dumps(config | {"auto_map": auto}))


def test_no_code_of_a_model_or_its_tokenizer_is_run(tmp_path: Path, canary: Path):
    folder, source = tiny_gemma2(tmp_path / "upstream"), Source(folder=str(tmp_path / "upstream"))
    evil_code(folder, canary)
    fetch_model(source=source, architecture=SHAPE, output=str(tmp_path / "known"))
    load_causal_model(tmp_path / "known")
    assert not (tmp_path / "known" / "evil.py").exists()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil"}))
    refused(lambda: fetch_model(source=source, architecture=SHAPE, output=str(tmp_path / "no")), "no code of its own")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Payload(canary)}, folder / "pytorch_model.bin")
    refused(
        lambda: fetch_model(source=source, architecture=SHAPE, output=str(tmp_path / "no")), "loads nothing pickled"
    )
    assert not canary.exists()
    assert not (tmp_path / "no").exists()


def test_no_script_and_no_card_of_a_data_set_is_run(tmp_path: Path, canary: Path):
    folder = tmp_path / "upstream"
    folder.mkdir()
    (folder / "upstream.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    (folder / "README.md").write_text(f"---\nlicense: !!python/object/apply:os.system ['touch {canary}']\n---\n")
    repository = open_repository(Source(folder=str(folder)))
    assert licence_of(repository) is None
    refused(
        lambda: read_configuration(repository, None, None, tmp_path / "scratch", "mine"),
        r"behind a script, upstream\.py",
    )
    study = tmp_path / "study.yaml"
    study.write_text(f"study: !!python/object/apply:os.system ['touch {canary}']\n")
    with pytest.raises(IsoglossError, match=r"study\.yaml:1: "):
        read_file(study)
    assert not canary.exists()


@pytest.mark.parametrize(
    "card",
    [
        "---\ndate: 2024-02-30\n---\n",
        "---\nx: !!bool maybe\n---\n",
        "---\nx: !!timestamp no\n---\n",
        "---\nx: !!binary \u00e9\n---\n",
        "---\n? {a: b}\n: 1\n---\n",
        "---\n" + "[" * 1000 + "\n---\n",
        "---\n" + "\n".join(f"{'a' * n}: {'[' * 900}" for n in range(1, 9)) + "\n---\n",
        "---\na: &a [*a]\nlicense: [mit\n---\n",
        "---\n- a\n- b\n---\n",
        "---\nlicense: mit\n",
        "license: mit\n---\n",
        "",
        "\0---\n",
    ],
)
def test_a_card_that_cannot_be_read_says_nothing(tmp_path: Path, card: str):
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert read_card(tmp_path / "README.md") == {}
    assert licence_of(open_repository(Source(folder=str(tmp_path)))) is None


def test_lists_within_lists_of_a_card_do_not_multiply(tmp_path: Path):
    laughs = ["a0: &a0 [x.jsonl, x.jsonl]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    card = ["---", *laughs, "configs:", "- config_name: default", "  data_files: *a11", "---", ""]
    (tmp_path / "README.md").write_text("\n".join(card))
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    started = time.process_time()
    with pytest.raises(IsoglossError):
        read_configuration(open_repository(Source(folder=str(tmp_path))), None, None, tmp_path / "scratch", "mine")
    assert time.process_time() - started < 20


LEADING_OUT = ("/{}", "../home/private.csv", "http://127.0.0.1:9/x.csv", "file:/{}", "zip://x::/{}", "x.csv:/{}")


@pytest.mark.parametrize("path", [*LEADING_OUT, "C:\\{}", "a/../../home/private.csv"])
@pytest.mark.parametrize("where", ["split", "list", "below", "task"])
def test_a_card_of_a_data_set_names_files_of_its_own_alone(tmp_path: Path, path: str, where: str):
    """The library would follow a path of this machine, or ask an address."""
    secret, folder = tmp_path / "home" / "private.csv", tmp_path / "upstream"
    for file in (secret, folder / "test.csv", folder / "deep" / "test.csv"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("question\nwho?\n")
    given = path.format(str(secret).removeprefix("/"))
    card: dict[str, Any] = {"config_name": "default", "data_files": ["test.csv", given]}
    if where == "split":
        card["data_files"] = [{"split": "test", "path": ["test.csv", given]}]
    if where == "below":
        card["data_dir"] = "deep"
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': [card]})}---\n")
    files = {"test": ["test.csv", given]} if where == "task" else None
    opened = open_repository(Source(folder=str(folder)))
    refused(lambda: read_configuration(opened, None, files, tmp_path / "scratch", "mine"), "not within it; name files")


def test_a_folder_of_a_card_is_within_the_data_set(tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "private.csv").write_text("question\nwho?\n")
    for at, data_dir in enumerate((str(tmp_path / "home"), "../home")):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "test.csv").write_text("question\nwho?\n")
        card = {"configs": [{"config_name": "default", "data_dir": data_dir}]}
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
        opened = open_repository(Source(folder=str(folder)))
        refused(lambda o=opened: read_configuration(o, None, None, tmp_path / "scratch", "mine"), "not within it")


@pytest.mark.parametrize("shard", ["../../secret.safetensors", "/etc/passwd", "a\0b", "C:\\x", "..", ["x"]])
def test_an_index_of_shards_leads_nowhere_else(tmp_path: Path, shard: Any):
    folder = tiny_gemma2(tmp_path / "deep" / "upstream")
    (folder / "model.safetensors").rename(tmp_path / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    output = tmp_path / "results" / "deep" / "lm"
    refused(lambda: fetch_model(source=Source(folder=str(folder)), architecture=SHAPE, output=str(output)), "index")
    assert not output.exists()
    assert not list((tmp_path / "results").rglob("*.safetensors")) if (tmp_path / "results").exists() else True


def test_an_archive_of_a_data_set_writes_only_where_it_is_unpacked(tmp_path: Path):
    folder = tmp_path / "upstream"
    folder.mkdir()
    with zipfile.ZipFile(folder / "test.zip", "w") as archive:
        archive.writestr("test.jsonl", '{"a": 0}\n')
        archive.writestr("../../../../slipped.jsonl", '{"a": 1}\n')
        archive.writestr("/slipped-too.jsonl", '{"a": 2}\n')
    scratch = tmp_path / "one" / "two" / "three" / "scratch"
    refused(
        lambda: read_configuration(open_repository(Source(folder=str(folder))), None, None, scratch, "mine"), "zip, w"
    )
    outside = [path for path in tmp_path.rglob("slipped*") if not path.is_relative_to(scratch)]
    assert not outside
    assert not Path("/slipped-too.jsonl").exists()


@pytest.mark.parametrize("name", ["bomb.gz", "bomb.zip", "bomb.npz", "bomb.xz", "bomb.bz2"])
def test_far_more_than_went_in_does_not_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    path, content = tmp_path / name, bytes(3_000_000)
    if path.suffix in (".zip", ".npz"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("w_enc.npy", content)
    else:
        with archives._STREAMS[path.suffix](path, "w") as stream:  # type: ignore[call-arg]
            stream.write(content)
    check_expansion(path, "here")  # no more than any file may hold
    monkeypatch.setattr(archives, "SMALL", 1_000_000)
    refused(lambda: check_expansion(path, "here"), r"here: more than \d+ MB come out of \d+ kB, so it was not unpacked")
    if path.suffix == ".npz":
        return  # what is no zip is refused by its reader
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IsoglossError, match=r"here(:| is damaged or cut off)"):
        check_expansion(path, "here")


def test_a_data_set_and_an_sae_are_not_unpacked_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives, "SMALL", 1000)
    monkeypatch.setattr(archives, "FOLD", 2)
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / "data" / "test.jsonl.gz", "w") as stream:
        stream.write(b'{"a": 1}\n' * 10_000)
    repository = open_repository(Source(folder=str(tmp_path / "data")))
    refused(
        lambda: read_configuration(repository, None, None, tmp_path / "scratch", "mine"), "test.jsonl.gz: more than"
    )
    path = f"layer_{LAYER}/width_16k/average_l0_82"
    sae_standins.gemma_scope(tmp_path / "saes", path)
    np.savez_compressed(tmp_path / "saes" / path / "params.npz", w_enc=np.zeros((D_MODEL, FEATURES * 99)))
    refused(lambda: sae(tmp_path / "saes", path, tmp_path / "out"), r"params\.npz: more than .* not unpacked")


def header(text: bytes, length: int | None = None, data: bytes = bytes(64)) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(**offsets: list[int]) -> bytes:
    return json.dumps({key: {"dtype": "F32", "shape": [4], "data_offsets": at} for key, at in offsets.items()}).encode()


@pytest.mark.parametrize(
    "content",
    [
        header(b"{}", 1 << 62),
        header(b"{}", (1 << 64) - 1),
        header(b" " * 200, 200),
        header(b"[" * 100_000),
        header(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        header(entry(a=[0, 16], b=[8, 24])),
        header(entry(a=[0, 1 << 60])),
        header(entry(a=[16, 0])),
        header(entry(a=[48, 64])),
        header(b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}'),
        header(b'{"a":{"dtype":"I8","shape":[64],"data_offsets":[0,64]}}'),
        header(b"\xff\xfe"),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        b"<html>Sign in</html>",
        b"\0\0\0",
        b"",
    ],
)
def test_a_header_of_safetensors_that_lies_is_one_line(tmp_path: Path, content: bytes):
    path = f"resid_post/layer_{LAYER}_width_16k_l0_medium"
    sae_standins.gemma_scope_2(tmp_path / "saes", path)
    (tmp_path / "saes" / path / "params.safetensors").write_bytes(content)
    refused(lambda: sae(tmp_path / "saes", path, tmp_path / "out"), r"params\.safetensors")


@pytest.mark.parametrize("config", [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b"\xff", b"null", b""])
def test_a_config_that_is_no_object_is_one_line(tmp_path: Path, config: bytes):
    path = f"resid_post/layer_{LAYER}_width_16k_l0_medium"
    sae_standins.gemma_scope_2(tmp_path / "saes", path)
    (tmp_path / "saes" / path / "config.json").write_bytes(config)
    refused(lambda: sae(tmp_path / "saes", path, tmp_path / "out"), r"config\.json is no JSON object; fetch it again")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("models.small.source.id", TOKEN),
        ("models.small.source.revision", f"x{TOKEN[:0]} {TOKEN}"),
        ("models.small.neuronpedia.url", f"https://me:{PASSWORD}@bucket.example"),
        ("models.small.title", f"ftp://{PASSWORD}@x"),
        ("unknown", {"deep": [{TOKEN: 1}]}),
    ],
)
def test_a_secret_in_a_study_is_refused_and_not_repeated(key: str, value: Any):
    study: dict[str, Any] = {"study": "mine", "models": {"small": {"kind": "pretrained"}}}
    node = study
    *parents, last = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    with pytest.raises(IsoglossError) as caught:
        load_study(study)
    assert f"{key}" in str(caught.value)
    assert "a token or a password stands here" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\0b", "C:x", "..", "a\nb"])
def test_no_name_in_a_study_leads_out_of_its_results(name: str):
    mini = yaml.safe_load((REPOSITORY / "tests" / "studies" / "mini.yaml").read_text())
    load_study(mini)
    for keys in (("models", "equal"), ("alignment", "runs", "hi-l0"), ("latent", "tasks", "hellaswag")):
        changed = node = copy.deepcopy(mini)
        for key in keys[:-1]:
            node = node[key]
        node[name] = node.pop(keys[-1])
        with pytest.raises(IsoglossError):
            load_study(changed)
    for changed in ({"study": name}, {"languages": {**mini["languages"], "high_resource": ["en", name]}}):
        with pytest.raises(IsoglossError):
            load_study({**mini, **changed})


@pytest.mark.workflow
def test_a_study_that_is_fetched_with_a_token_writes_it_nowhere(tmp_path: Path):
    """Every file below the study's folder and all that is said: of a run that fails at the Hub, and one that ends."""
    build(tmp_path / "upstream")
    config = merged(REPOSITORY / "config" / "studies" / "any-model.yaml", tmp_path / "upstream")
    (name, model) = next(iter(config["models"].items()))
    model["source"] = {"id": "someone/small"}
    checkout = Checkout(tmp_path / "checkout", config)
    with server.serving() as hub:
        hub.add("someone/small", tmp_path / "upstream" / "lm")
        signed = f"{hub.url}/nowhere?X-Amz-Signature={PASSWORD}&token={TOKEN}"
        command, outside = checkout._command(f"results/{name}/lm", "results/parallel/segments/en.parquet", "--verbose")
        environment = {**outside, **server.environment(hub.url, tmp_path / "cache"), "HF_TOKEN": TOKEN}
        environment |= {
            "HF_HUB_OFFLINE": "0",
            "HTTP_PROXY": f"http://me:{PASSWORD}@127.0.0.1:9",
            "HF_HUB_DISABLE_XET": "1",
        }

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(command, cwd=checkout.folder, env=environment, capture_output=True, text=True)

        dry = subprocess.run([*command, "-n"], cwd=checkout.folder, env=environment, capture_output=True, text=True)
        assert dry.returncode == 0, dry.stderr[-3000:]
        fetched = {path.rpartition("/")[2] for _, path, _ in hub.asked if "/resolve/" in path}
        assert fetched == {"config.json"}  # for its shape, which the study leaves open
        assert "Reading config.json of someone/small from the Hub" in dry.stderr + dry.stdout
        hub.answer = lambda method, path: (
            (302, b"", {"Location": signed, "X-Repo-Commit": "0" * 40, "ETag": '"a"', "X-Linked-Size": "9"})
            if path.endswith("model.safetensors")
            else None
        )
        failed = run()
        hub.answer = None
        finished = run()
    assert failed.returncode != 0
    assert "isogloss: fetch_model: someone/small at revision main: " in failed.stderr
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert f"Bearer {TOKEN}" in hub.tokens
    files = [path for folder in (checkout.folder, tmp_path / "cache") for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 100
    for secret in (TOKEN, PASSWORD):
        leaking = [str(path) for path in files if secret.encode() in path.read_bytes()]
        assert not leaking
        for each in (dry, failed, finished):
            assert secret not in each.stdout + each.stderr
