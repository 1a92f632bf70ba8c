"""Paper C: which features serve one language, which several, and what injecting them does."""
