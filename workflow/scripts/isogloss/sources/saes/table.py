"""The layouts of published SAEs that are understood, by the name that `saes.layout` gives them."""

from isogloss.sources.saes.dictionary_learning import DICTIONARY_LEARNING
from isogloss.sources.saes.gemma_scope import GEMMA_SCOPE
from isogloss.sources.saes.gemma_scope_2 import GEMMA_SCOPE_2
from isogloss.sources.saes.llama_scope import LLAMA_SCOPE
from isogloss.sources.saes.published import Layout
from isogloss.sources.saes.qwen_scope import QWEN_SCOPE
from isogloss.sources.saes.saelens import SAELENS
from isogloss.sources.saes.sparsify import SPARSIFY

LAYOUTS: dict[str, Layout] = {
    "gemma-scope": GEMMA_SCOPE,
    "gemma-scope-2": GEMMA_SCOPE_2,
    "saelens": SAELENS,
    "llama-scope": LLAMA_SCOPE,
    "qwen-scope": QWEN_SCOPE,
    "sparsify": SPARSIFY,
    "dictionary-learning": DICTIONARY_LEARNING,
}
