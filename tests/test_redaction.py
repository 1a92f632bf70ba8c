"""Secrets stay out of what is written, and what is none stays as it is."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, unquote

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
        ("me hf_oauth_eyJhbGciOiJIUzI1NiJ9.abc-d_e", "me hf_***"),
        ("https://a.example/x?sv=1&sig=abc%3D&api_key=geheim", "https://a.example/x?sv=1&sig=***&api_key=***"),
        ("https://a.example/x?access_token=geheim&apikey=k", "https://a.example/x?access_token=***&apikey=***"),
    ],
)
def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch, text: str, shown: str):
    monkeypatch.setenv("HF_TOKEN", "s3cret-value")
    assert redact(text) == shown


@pytest.mark.parametrize("name", ["HF_ENDPOINT", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"])
@pytest.mark.parametrize(
    "password",
    [
        "geheim0815",
        "geheim0815'x",
        'a"geheim0815',
        "geheim0815/x",
        "x#geheim0815",
        "a?geheim0815",
        "a@geheim0815",
        "geheim0815%23",
    ],
)
@pytest.mark.parametrize("scheme", ["https://", "http:/", "", "socks5://"])
def test_who_asks_in_the_environments_addresses_stands_nowhere(
    monkeypatch: pytest.MonkeyPatch, name: str, password: str, scheme: str
):
    """However ill the address is written: libraries quote it whole, unquoted, or a part of it as a port."""
    address = f"{scheme}me:{password}@mirror.example:3128"
    monkeypatch.setenv(name, address)
    for shown in (address, unquote(address), quote(password, safe=""), *re.split("[/?#]", password)):
        assert "geheim" not in redact(f"Invalid port: {shown!r}, at {shown}/x and {shown}")
    assert "mirror.example:3128" in redact(address)
    assert redact("a mirror.example of me") == "a mirror.example of me"


@pytest.mark.parametrize(
    "url", ["https://a.example/?X-Amz-Signature=0123", "https://a/?sig=a", "hf_oauth_" + "a1" * 20]
)
def test_signed_urls_and_tokens_of_a_login_are_secrets(url: str):
    assert holds_secret(url)


@pytest.mark.parametrize(
    "text",
    [
        "hf_oauth_expiration_minutes: 480; give a token=17",
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
snakemake = types.SimpleNamespace(log=["log.txt"], params={{}}, input=[], threads=1, rule="fetch_model")
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
