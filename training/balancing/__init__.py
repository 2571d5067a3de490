"""How several losses become one step: weights on losses, or combinations of their gradients."""

from training.balancing import static

__all__ = ["static"]
