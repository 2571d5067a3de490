"""Attention of a candidate to a sequence: what DIN pools a history with.

G. Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018.
https://doi.org/10.1145/3219819.3219823

Equations, for a candidate with the vector q and a sequence with the vectors k_1 … k_L::

    a(q, k) = v · PReLU(W [q; k; q − k; q ∘ k] + b) + d
    out     = sum_l a(q, k_l) k_l           over the given values alone; zeros where none is given

The weights pass through no softmax (section 4.3 of the paper): their sum says how strong the interest is. The
paper feeds "the out product" of both vectors; as in its authors' code, that is their difference and their
element-wise product.

Shapes: q ``[N, D]``, k ``[X, L, D]`` with X requests or candidates, out ``[N, D]``. The first layer is linear in q
and in k, so ``W [q; k; q − k; q ∘ k] = (W_q + W_d) q + (W_k − W_d) k + W_p (q ∘ k)``: the first product is taken
once a candidate, the second once a request, and only the third once a pair.

Parameters: ``4 D A + A`` and ``A + 1``, A hidden units, and one slope of the PReLU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LocalActivation"]


class LocalActivation(nn.Module):
    """Pools a sequence by how much each of its values matters to the candidate.

    Args:
        dim: Embedding width D.
        hidden: Hidden units A.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.dim, self.starts = dim, range(0, 4 * dim, dim)
        self.first = nn.Linear(4 * dim, hidden)
        self.activation = nn.PReLU()
        self.weigh = nn.Linear(hidden, 1)

    def forward(self, q_ND: Tensor, k_XLD: Tensor, given_XL: Tensor, request_index: Tensor | None) -> Tensor:
        """Give ``[N, D]``.

        Args:
            given_XL: 1 where the sequence has a value, 0 where it has ended.
            request_index: The sequence of each candidate, int64 ``[N]``; None where each has its own.
        """
        # Slices, not a split: the exporter folds these into constants, so that a graph adds no weights up.
        own_AD, keys_AD, difference_AD, product_AD = (self.first.weight[:, d : d + self.dim] for d in self.starts)
        own_NA = functional.linear(q_ND, own_AD + difference_AD)
        keys_XLA = functional.linear(k_XLD, keys_AD - difference_AD, self.first.bias)
        # A value that is not given has a weight as well; with a vector of zeros it adds nothing.
        k_XLD = k_XLD * given_XL.unsqueeze(-1)
        keys_NLA, k_NLD = _gathered(keys_XLA, request_index), _gathered(k_XLD, request_index)
        pairs_NLA = functional.linear(q_ND.unsqueeze(1) * k_NLD, product_AD)
        h_NLA = self.activation(own_NA.unsqueeze(1) + keys_NLA + pairs_NLA)
        weights_N1L: Tensor = self.weigh(h_NLA).transpose(1, 2)
        return torch.matmul(weights_N1L, k_NLD)[:, 0]


def _gathered(x_XLD: Tensor, index: Tensor | None) -> Tensor:
    return x_XLD if index is None else x_XLD.index_select(0, index)
