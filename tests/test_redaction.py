"""Secrets stay out of what is written, and what is none stays as it is."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from isogloss.redaction import RedactedWriter, holds_secret, redact

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz01234567"
REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Illegal header value b'Bearer {TOKEN}\\nmore'", "Illegal header value b'Bearer ***'"),
        (f"token={TOKEN}, repo=x", "token=hf_***, repo=x"),
        ("https://me:geheim@mirror.example/api?x=1", "https://***@mirror.example/api?x=1"),
        ("http://geheim@proxy:3128: refused", "http://***@proxy:3128: refused"),
        (
            "GET https://cdn.example/a?X-Amz-Date=1&X-Amz-Signature=0123&Policy=abc&Key=9 'ok'",
            "GET https://cdn.example/a?X-Amz-Date=1&X-Amz-Signature=***&Policy=***&Key=9 'ok'",
        ),
        ("{'authorization': 'Bearer abcdefgh', 'accept': '*'}", "{'authorization': 'Bearer ***', 'accept': '*'}"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("proxy said s3cret-value", "proxy said ***"),
    ],
)
def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch, text: str, shown: str):
    monkeypatch.setenv("HF_TOKEN", "s3cret-value")
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "hf_hub_download, hf_token and the bearer of news; an authorization is needed",
        "https://huggingface.co/google/gemma-2-2b at user@host, 3:4@5",
        "results/gemma/lm/model.safetensors: policy of the study, token 17 of 40",
        "abc",
        "",
    ],
)
def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("HF_TOKEN", "abc")  # too short to be told from a part of a word
    assert redact(text) == text
    assert not holds_secret(text)


def test_a_writer_hides_them_however_it_is_written_to():
    content = io.BytesIO()
    with RedactedWriter(content, encoding="utf-8", line_buffering=True) as log:
        log.write(f"one {TOKEN}\n")
        log.writelines([f"two {TOKEN}\n"])
        print("three", TOKEN, file=log)
        log.flush()
        assert content.getvalue().decode() == "one hf_***\ntwo hf_***\nthree hf_***\n"


STAGE = f"""
import sys, types
sys.path.insert(0, "{REPOSITORY}/workflow/scripts")
from isogloss.stage import stage
import isogloss.stage
isogloss.stage.check = lambda *_: None
import logging
snakemake = types.SimpleNamespace(log=["log.txt"], params={{}}, threads=1, rule="fetch_model")
with stage(snakemake):
    logging.getLogger("httpx2").info("GET https://a.example/?X-Amz-Signature=deadbeef %s", "{TOKEN}")
    raise ERROR
"""


@pytest.mark.parametrize(
    "error",
    [f"RuntimeError('wrong: {TOKEN}')", f"__import__('isogloss.errors').errors.IsoglossError('wrong: {TOKEN}')"],
)
def test_a_stage_that_fails_shows_none_in_its_log_and_on_the_terminal(tmp_path: Path, error: str):
    (tmp_path / "script.py").write_text(STAGE.replace("ERROR", f"{error}('wrong: {TOKEN}')"))
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_TOKEN": TOKEN},
    )
    assert done.returncode == 1
    for written in (done.stdout + done.stderr, (tmp_path / "log.txt").read_text()):
        assert "wrong: ***" in written
        assert TOKEN not in written
        assert "deadbeef" not in written
