"""How text calls the ways in which features of a language are chosen."""

METHOD_TITLES = {
    "share": "share of all firings",
    "entropy": "entropy over languages",
    "monolinguality": "monolinguality",
}
