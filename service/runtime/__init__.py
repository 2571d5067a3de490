"""Models: loaded, gated, batched, swapped."""
