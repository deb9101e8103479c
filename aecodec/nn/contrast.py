"""The contrastive term: two views of one picture near each other, apart from the rest of the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def nt_xent(similarity: torch.Tensor, alike: torch.Tensor | None = None) -> torch.Tensor:
    """Normalised temperature-scaled cross entropy (Chen et al. 2020, "SimCLR", eq. 1), scalar.

    similarity: (2 B, 2 B) float32, already divided by the temperature; rows i and i + B are views of picture i.
    alike: (B, B) bool, pictures that count as the same besides the diagonal; the loss is then the mean over all views
    of all of them (Khosla et al. 2020, "Supervised contrastive learning", eq. 2), here without labels.
    """
    views = len(similarity)
    itself = torch.eye(views, dtype=torch.bool, device=similarity.device)
    similarity = similarity.masked_fill(itself, float("-inf"))
    log_share = similarity - similarity.logsumexp(1, keepdim=True)
    if alike is None:
        alike = torch.zeros(views // 2, views // 2, dtype=torch.bool, device=similarity.device)
    alike = alike | torch.eye(views // 2, dtype=torch.bool, device=similarity.device)
    partners = alike.repeat(2, 2) & ~itself
    return -(log_share.masked_fill(~partners, 0.0).sum(1) / partners.sum(1)).mean()


def relation_loss(
    similarity: torch.Tensor, teacher: torch.Tensor, temperature: float, apart: torch.Tensor
) -> torch.Tensor:
    """How far the relations between pictures are from those that a teacher sees, in nats per picture, scalar.

    Mean over rows of KL(softmax of the teacher's similarities || softmax of the student's) over all other pictures
    (Fang et al. 2021, "SEED", eq. 3, with the batch for its queue). similarity, teacher: (N, N) float32 in [-1, 1];
    apart: (N, N) bool, pairs that are left out besides the diagonal; every row must keep one.
    """
    apart = apart | torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    student = (similarity / temperature).masked_fill(apart, float("-inf")).log_softmax(1).masked_fill(apart, 0.0)
    wanted = (teacher / temperature).masked_fill(apart, float("-inf")).log_softmax(1)
    share = wanted.exp()
    return (share * (wanted.masked_fill(apart, 0.0) - student)).sum(1).mean()


@torch.no_grad()
def mutual_neighbours(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """(B, D) float32 -> (B, B) bool, symmetric: each is among the ``count`` nearest of the other, by cosine."""
    directions = F.normalize(vectors, dim=1)
    similarity = directions @ directions.T
    similarity.fill_diagonal_(float("-inf"))
    nearest = similarity.topk(min(count, len(vectors) - 1), dim=1).indices
    chosen = torch.zeros(similarity.shape, dtype=torch.bool, device=vectors.device).scatter_(1, nearest, True)
    return chosen & chosen.T
