"""HF_ENDPOINT, looked at before huggingface_hub is imported, which reads it then."""

import os
import sys
from urllib.parse import urlsplit

from isogloss.errors import IsoglossError


def require_endpoint() -> None:
    """Raise IsoglossError for one at which huggingface_hub cannot be imported, whose message holds a part of it."""
    try:
        _ = urlsplit(os.environ.get("HF_ENDPOINT", "")).port
    except ValueError:
        raise IsoglossError(
            "HF_ENDPOINT cannot be read as a URL; give https://HOST, without a user or a password (~/.netrc)"
        ) from None


def leave_without_endpoint() -> None:
    """As `require_endpoint`, for a command: the process ends with the line."""
    try:
        require_endpoint()
    except IsoglossError as error:
        sys.exit(str(error))
