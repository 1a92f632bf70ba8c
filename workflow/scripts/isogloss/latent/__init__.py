"""Paper B: consistency, transfer, the language of hidden layers, and steering towards the reference language."""
