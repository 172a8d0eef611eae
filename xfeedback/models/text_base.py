"""What networks for texts have in common: ids become embeddings, and these can be given instead."""

from torch import Tensor, nn


class TextNetwork(nn.Module):
    """Maps ids of tokens or their embeddings to logits; a subclass gives :meth:`classify`.

    Feedbacks and explanations see the embeddings as the input. A row of zeros is padding, so embeddings must be zero
    there and nowhere else: ``padding_idx=0`` does it.

    Attributes:
        embedding: turns ids ``(B, L)`` into vectors ``(B, L, E)``; a subclass sets it or overrides :meth:`embed`.
    """

    embedding: nn.Module

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings ``(B, L, E)`` of ids ``(B, L)``, zero where the id is 0."""
        return self.embedding(ids)

    def forward(self, x: Tensor) -> Tensor:
        """Map ids ``(B, L)`` int64 or embeddings ``(B, L, E)`` to logits ``(B, N)``."""
        x = x if x.is_floating_point() else self.embed(x)
        return self.classify(x, real_tokens(x))

    def classify(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map embeddings ``(B, L, E)`` to logits ``(B, N)``; padding, where ``valid`` ``(B, L)`` is False, counts not.

        A text may be empty: its logits must be finite too.
        """
        raise NotImplementedError


def real_tokens(x: Tensor) -> Tensor:
    """Return which rows of embeddings ``(B, L, E)`` are no padding, bool ``(B, L)``."""
    return x.detach().ne(0).any(-1)
