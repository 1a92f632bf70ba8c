"""Values in rows of foreign files: texts, ids and whole numbers, and one sentence for what is none."""

from typing import Any

from isogloss.errors import IsoglossError, shown

_DIGITS = 18  # of a number that int64 holds, whichever they are
_EXACT = 2**53  # floats below are whole numbers without doubt


def check_text(value: Any, key: str, where: str) -> str:
    """The text itself; raises `IsoglossError` for what is none, and as `encoded`."""
    if not isinstance(value, str):
        raise IsoglossError(f"{where}: {shown(key)} is {shown(value)}, not a text; mend or delete the line")
    encoded(value, key, where)
    return value


def check_id(value: Any, key: str, where: str) -> str:
    """An id as text, without white space round it.

    Raises `IsoglossError` for one that is missing, or neither text nor a whole number, and as `encoded`.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise IsoglossError(
            f"{where}: {shown(key)} is {shown(value)}, neither text nor a whole number; give another column, or mend"
            " the line"
        )
    name = "" if value is None else str(value).strip()
    if not name:
        raise IsoglossError(f"{where}: no id under {shown(key)}; every row needs one, mend or delete it")
    encoded(name, key, where)
    return name


def encoded(text: str, key: str, where: str) -> bytes:
    """The text in UTF-8; raises `IsoglossError` for half a surrogate pair, which JSON can hold and UTF-8 cannot."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise IsoglossError(
            f"{where}: {half} under {shown(key)} is half a surrogate pair and no character; mend or delete it"
        ) from None


def whole_number(value: Any) -> int | None:
    """A whole number, of no more than `_DIGITS` digits as text ("3"), as int or as float (3.0); None for all else."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isdecimal() and len(text) <= _DIGITS else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT else None
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_DIGITS else None
