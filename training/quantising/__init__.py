"""8-bit weights and activations, with ranges that are fixed at export."""
