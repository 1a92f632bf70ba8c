"""How probable a causal LM finds texts after a prompt, at its output and at hidden layers."""
