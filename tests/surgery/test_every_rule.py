"""Every family of rules, by the registry, against what the numbers do."""

import pytest
import torch
from torch.nn import functional
from torch.nn.utils import rnn

from autoprune import registry
from autoprune.testing.rule import RuleConformance

aten = torch.ops.aten


def real(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def some(*places):
    return torch.tensor(places)


def definite(*shape):
    x = real(*shape, shape[-1])
    return x @ x.mT + torch.eye(shape[-1], dtype=x.dtype)


def graph():
    return (real(5, 5) > 0).double().to_sparse()


MASK = torch.tensor([[True, False, True], [False, True, True]])
CALLS = {
    "contraction": [
        (aten.convolution, real(2, 4, 6), real(8, 4, 3), real(8), [1], [0], [1], False, [0], 1),
        (aten.convolution, real(2, 4, 6), real(8, 2, 3), real(8), [1], [0], [1], False, [0], 2),
        (aten.convolution, real(2, 4, 6), real(4, 8, 1), None, [1], [0], [1], True, [0], 1),
        (aten.bmm, real(2, 3, 4), real(2, 4, 5)),
        (aten.addmm, real(5), real(3, 4), real(4, 5)),
        (aten.linear, real(2, 3, 4), real(5, 4), real(5)),
        (aten.mv, real(3, 4), real(4)),
        (functional.bilinear, real(3, 4), real(3, 5), real(6, 4, 5), real(6)),
        (torch.cdist, real(2, 3, 4), real(2, 5, 4)),
        (aten.ger, real(3), real(4)),
        (functional.embedding, some(1, 2, 0), real(4, 5)),
        (functional.embedding_bag, some(1, 2, 0), real(4, 5), some(0, 2)),
        (
            functional.scaled_dot_product_attention,
            real(2, 4, 3, 6).float(),
            real(2, 4, 5, 6).float(),
            real(2, 4, 5, 6).float(),
        ),
        (
            lambda x, w, which: functional.grouped_mm(
                x[which.argsort()], w, offs=torch.bincount(which).cumsum(0).int()
            ),
            real(8, 16).bfloat16(),
            real(2, 16, 8).bfloat16(),
            some(0, 1, 0, 0, 1, 1, 0, 1),
        ),
    ],
    "factories": [(torch.zeros, (3, 4)), (torch.eye, 4), (torch.arange, 3), (torch.normal, torch.zeros(3, 4), 0.0)],
    "indexing": [
        (lambda x, i: x[:, i], real(2, 5, 4), some(0, 3, 3)),
        (lambda x, i, j: x[i, :, j], real(3, 5, 4), some(0, 2), some(1, 3)),
        (lambda x, i, v: aten.index_put(x, [None, None, i], v), real(2, 5, 4), some(0, 3), real(2, 5, 2)),
        (lambda x, i, v: aten.index_put(x, [None, i], v), real(2, 5, 4), some(0, 3), real(4)),
        (lambda x, m, v: aten.index_put(x, [m], v), real(2, 3, 4), MASK, real(4, 4)),
        (torch.index_select, real(3, 4), 0, some(2, 0)),
        (torch.gather, real(3, 4), 1, some(0, 2, 1).view(3, 1)),
        (torch.scatter, real(3, 4), 1, some(0, 2, 1).view(3, 1), real(3, 1)),
        (torch.index_add, real(3, 4), 0, some(2, 0), real(2, 4)),
        (torch.tril, real(2, 3, 3)),
    ],
    "masks": [
        (torch.masked_scatter, real(2, 3, 4), MASK.unsqueeze(-1), real(4, 4)),
        (torch.masked_scatter, real(2, 3), MASK, real(4)),
        (torch.masked_scatter, real(2, 3, 4), MASK.unsqueeze(-1).repeat(1, 1, 4), real(2, 2, 4)),
        (torch.masked_select, real(2, 3, 4), MASK.unsqueeze(-1)),
        (torch.masked_select, real(2, 3), MASK),
    ],
    "norms": [
        (functional.batch_norm, real(2, 4, 3), real(4), real(4).abs(), real(4), real(4)),
        (functional.layer_norm, real(2, 3, 4), (3, 4), real(3, 4), real(3, 4)),
        (functional.group_norm, real(2, 6, 4), 2, real(6), real(6)),
        (functional.group_norm, real(2, 4, 3), 4, real(4), real(4)),
    ],
    "packed": [
        (
            lambda x: rnn.pad_packed_sequence(rnn.pack_padded_sequence(x, some(3, 2), batch_first=True))[0],
            real(2, 3, 4),
        )
    ],
    "pointwise": [
        (torch.where, MASK, real(2, 3), real(3)),
        (torch.clone, real(2, 3)),
        (torch.fake_quantize_per_channel_affine, real(3, 4).float(), torch.ones(4), torch.zeros(4).int(), 1, 0, 9),
        (functional.glu, real(2, 6)),
        (lambda x: x.as_strided_((2, 3), (3, 1)), real(2, 3)),
        (
            torch.fused_moving_avg_obs_fake_quant,
            real(3, 4).float(),
            some(1),
            some(1),
            torch.zeros(3),
            torch.ones(3),
            torch.ones(3),
            torch.zeros(3).int(),
            0.1,
            0,
            255,
            0,
            True,
        ),
    ],
    "reductions": [
        (torch.mean, real(2, 3, 4), 1),
        (torch.linalg.vector_norm, real(2, 3, 4), 2, 1),
        (torch.cumsum, real(2, 3), 1),
        (torch.softmax, real(2, 3), 1),
        (lambda x: torch.max(x, 1)[0], real(2, 3)),
        (torch.argmax, real(2, 3), 1),
        (lambda x: torch.nanmedian(x, 1)[0], real(2, 3)),
        (torch.nanmedian, real(2, 3)),
        (lambda x: torch.mode(x.round())[0], real(2, 3)),
        (torch.kthvalue, real(2, 3, 4), 2, 1),
        (lambda x, lengths: torch.segment_reduce(x, "mean", lengths=lengths), real(5, 4), some(2, 3)),
        (torch.sort, real(2, 3), 1),
        (torch.topk, real(2, 3), 2),
    ],
    "segments": [
        (lambda x, y: torch.cat([x, y], 1), real(2, 3), real(2, 4)),
        (lambda x, y: torch.stack([x, y], 1), real(2, 3), real(2, 3)),
        (torch.split, real(2, 6), 3, 1),
        (torch.unbind, real(2, 3)),
        (torch.select, real(2, 3), 1, 2),
        (lambda x: x[:, 1:3], real(2, 5)),
        (lambda x: x[:, ::2], real(2, 6)),
        (functional.pad, real(2, 3), (1, 2)),
        (lambda x: x.repeat(2, 3, 1), real(2, 3)),
        (torch.roll, real(2, 3), 1, 1),
    ],
    "sets": [
        (torch.bucketize, real(2, 3), real(4).sort()[0]),
        (torch.searchsorted, real(4).sort()[0], real(2, 3)),
        (torch.searchsorted, real(2, 4).sort()[0], real(2, 3)),
        (torch.isin, real(2, 3).round(), some(0, 1).double()),
        (lambda x: torch.unique(x.round(), return_inverse=True, return_counts=True), real(2, 3)),
        (torch.histc, real(2, 3), 4),
        (torch.bincount, some(0, 2, 2, 1), real(4)),
    ],
    "solving": [
        (lambda a, b: torch.linalg.solve_triangular(a, b, upper=False), definite(2, 3).tril(), real(2, 3, 4)),
        (lambda a, b: torch.linalg.solve_triangular(a, b, upper=True, left=False), definite(3).triu(), real(4, 3)),
        (torch.linalg.solve, definite(2, 3), real(2, 3, 4)),
        (torch.linalg.solve, definite(2, 3), real(2, 3)),
        (torch.cholesky_solve, real(3, 4), torch.linalg.cholesky(definite(3))),
        (lambda a, b: torch.linalg.lstsq(a, b)[0], real(2, 5, 3), real(2, 5, 4)),
        (torch.linalg.lu_solve, *torch.linalg.lu_factor(definite(3)), real(3, 4)),
    ],
    "sparse": [
        (torch.sparse.mm, graph(), real(5, 3)),
        (lambda a, x: torch.sparse.mm(a.to_sparse_csr(), x, "mean"), (real(5, 5) > 0).double(), real(5, 3)),
        (lambda i, v: torch.sparse_coo_tensor(i, v, (5, 5, 3)), some(0, 2, 1, 1).view(2, 2), real(2, 3)),
        (lambda a: a.coalesce().values(), graph()),
        (lambda a: a.coalesce().indices(), graph()),
        (torch.sparse.softmax, graph(), 1),
    ],
    "spatial": [
        (lambda x: functional.max_unpool2d(*functional.max_pool2d(x, 2, return_indices=True), 2), real(2, 3, 4, 4)),
        (functional.grid_sample, real(2, 3, 4, 4), real(2, 5, 5, 2)),
        (functional.pixel_shuffle, real(2, 8, 3, 3), 2),
        (functional.pixel_unshuffle, real(2, 3, 4, 4), 2),
        (functional.unfold, real(2, 3, 4, 4), 2),
        (functional.fold, real(2, 12, 4), 4, 2, 1, 0, 2),
        (functional.avg_pool2d, real(2, 3, 4, 4), 2),
    ],
    "views": [
        (torch.reshape, real(2, 3, 4), (6, 4)),
        (torch.reshape, real(2, 12), (2, 3, 4)),
        (torch.permute, real(2, 3, 4), (2, 0, 1)),
        (torch.transpose, real(2, 3), 0, 1),
        (torch.squeeze, real(2, 1, 3), 1),
        (torch.unsqueeze, real(2, 3), 1),
        (lambda x: x.expand(2, 3, 4), real(3, 1)),
        (lambda x: x.as_strided((2, 4, 3, 5), (30, 5, 5, 1)), real(2, 6, 5)),
        (lambda x: x.unfold(1, 2, 1), real(2, 4, 3)),
        (torch.diagonal, real(3, 3, 4)),
        (torch.view_as_complex, real(3, 4, 2)),
        (torch.view_as_real, torch.complex(real(3, 4), real(3, 4))),
        (torch.fft.rfft, real(3, 4)),
    ],
}


@pytest.mark.parametrize("name", registry.names("rules"))
class TestEveryFamily(RuleConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name

    def calls(self):
        return CALLS[self.name]
