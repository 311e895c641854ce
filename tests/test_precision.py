"""Products in bfloat16: what is rounded, what is not, and that gradients are those of the rounded numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reparam import networks
from reparam.engine import has_bfloat16, narrowed, products, widened

narrow_only = pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="no products of bfloat16")
UNIT = 2.0**-8  # the largest relative error of a rounding to bfloat16

LAYERS = {
    "convolution": (nn.Conv2d(3, 8, 4, stride=2, padding=1), (5, 3, 12, 10)),
    "without bias": (nn.Conv2d(3, 8, 3, bias=False), (5, 3, 12, 10)),
    "one by one": (nn.Conv2d(4, 8, 1), (2, 4, 5, 5)),
    "groups": (nn.Conv2d(4, 8, 3, groups=2, dilation=2), (2, 4, 9, 9)),
    "same": (nn.Conv2d(4, 8, 3, padding="same"), (2, 4, 9, 9)),
    "transposed": (nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, output_padding=1), (5, 4, 6, 7)),
}
# whose gradients of weights are products of patches, by any step, border and distance
FEW_POSITIONS = {
    "few positions": (nn.Conv2d(8, 32, 4, stride=2, padding=1), (7, 8, 4, 5)),
    "few, uneven": (nn.Conv2d(5, 64, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2)), (7, 5, 3, 4)),
    "few, transposed": (nn.ConvTranspose2d(32, 6, 4, stride=2, padding=1, output_padding=1), (7, 32, 2, 3)),
    "few, transposed, uneven": (
        nn.ConvTranspose2d(32, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), dilation=(2, 1)),
        (7, 32, 2, 3),
    ),
}
LAYERS |= FEW_POSITIONS


@narrow_only
@pytest.mark.parametrize("name", FEW_POSITIONS)
def test_patches_of_several_images_at_once_or_of_each_alone_are_added_up(name, monkeypatch):
    layer, shape = LAYERS[name]
    torch.manual_seed(0)
    x, found = torch.randn(shape), []
    for at_once in (1, 3 * 10**3, 1 << 23):
        monkeypatch.setattr("reparam.engine.convolution._PATCHES", at_once)
        with products("bfloat16"):
            out = layer(x)
        found.append(torch.autograd.grad(out.square().sum(), layer.weight)[0])
    assert float(found[2].abs().max()) > 0
    for other in found[:2]:
        close(other, found[2])


# a padding by name goes the way of all other products, which take float32 alone
@narrow_only
@pytest.mark.parametrize(
    ("name", "handed_on"), [(n, h) for n in LAYERS for h in (False, True) if not (h and n == "same")]
)
def test_a_convolution_is_that_of_rounded_operands_forward_and_backward(name, handed_on):
    """Products of numbers of 8 bits are exact in float32, so all that is left is the rounding of results: one unit of
    the largest, or of the sum of the absolute products where they cancel."""
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    x = torch.randn(shape).bfloat16().float().requires_grad_()
    for p in layer.parameters():
        p.data = p.data.bfloat16().float()
    plain = layer(x)
    weigh = torch.randn_like(plain).bfloat16().float()
    wanted = torch.autograd.grad((plain * weigh).sum(), [x, *layer.parameters()])
    with products("bfloat16"):
        out = layer(x.bfloat16() if handed_on else x)
        assert out.dtype == (torch.bfloat16 if handed_on else torch.float32)
    found = torch.autograd.grad((out.float() * weigh).sum(), [x, *layer.parameters()])
    close(out.detach().float(), plain.detach())
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32
        close(a, b)


def close(found: Tensor, wanted: Tensor) -> None:
    assert float((found - wanted).abs().max()) <= 2 * UNIT * float(wanted.abs().max())


@narrow_only
@pytest.mark.parametrize("options", [{}, {"gated": True}, {"norm": "group", "residual": True}], ids=str)
def test_what_is_handed_on_narrow_costs_no_accuracy(options, monkeypatch):
    """Errors, against float32, of outputs and gradients over 20 networks: at most a tenth above those of layers that
    widen what they give, or for gates, which round a factor more, a half. Where sums are taken between layers,
    nothing is handed on, and the bits are the same."""
    errors = {True: [], False: []}
    for seed in range(20):
        torch.manual_seed(seed)
        encoder = networks.conv((3, 16, 16), 7, (8, 16), **options)
        decoder = networks.conv(5, (3, 16, 16), (8, 16), **options)
        for net, given in ((encoder, torch.rand(6, 3, 16, 16)), (decoder, torch.randn(6, 5))):
            wanted = everything(net, given)
            for handed_on, found_errors in errors.items():
                with monkeypatch.context() as patch, products("bfloat16"):
                    if not handed_on:
                        patch.setattr("reparam.networks.convolution.narrowed", lambda images: images)
                    found = everything(net, given)
                assert {t.dtype for t in found} == {torch.float32}
                found_errors.append([float((f - w).norm() / w.norm()) for f, w in zip(found, wanted, strict=True)])
    new, old = (torch.tensor(errors[h]).mean() for h in (True, False))
    assert 0 < float(new) <= (1.5 if options.get("gated") else 1.1) * float(old)
    if options.get("norm"):
        assert errors[True] == errors[False]


def everything(net: nn.Module, given: Tensor) -> list[Tensor]:
    """The output and the gradients of its square."""
    out = net(given)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), list(net.parameters()))]


@narrow_only
@pytest.mark.parametrize("channels", [3, 64], ids=["many positions", "few positions"])
def test_gradients_of_gradients_pass_through_a_convolution(channels):
    """As a penalty on the slope of a decoder takes them: those of the same layer in float32, to rounding."""
    torch.manual_seed(0)
    layer, x = nn.Conv2d(2, channels, 3), torch.randn(2, 2, 6, 6).requires_grad_()
    values = []
    for precision in ("float32", "bfloat16"):
        with products(precision):
            (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
            values.append(torch.autograd.grad(slope.square().sum(), layer.weight)[0])
    assert float((values[1] - values[0]).norm()) < 0.05 * float(values[0].norm())


def test_nothing_is_narrowed_outside_or_in_other_precisions():
    x = torch.randn(1, 2, 3, 3)
    assert narrowed(x) is x
    assert widened(x) is x
    with products("float32"):
        assert narrowed(x) is x
    with products("bfloat16"):
        assert narrowed(x).dtype == torch.bfloat16
        assert narrowed(x.double()).dtype == torch.float64
    assert narrowed(x) is x


def test_the_bernoulli_density_is_one_for_graphs_and_alone():
    """x l - log(1 + exp l), to rounding, whichever of its two ways is taken."""
    from reparam.distributions import vectors

    torch.manual_seed(0)
    logits, x = (torch.randn(3, 5, 784) * 6).requires_grad_(), (torch.rand(5, 784) < 0.5).float()
    exact = (x * logits.double() - F.softplus(logits.double(), threshold=50)).sum(-1)
    alone = vectors._BernoulliLogProb.apply(logits, x, 1)
    graph = logits.clamp_min(0).neg().addcmul(x, logits).sum(-1) - vectors._log_of_products(
        logits.abs().neg().exp().add(1)
    )
    torch.testing.assert_close(alone.double(), exact, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(graph.double(), exact, rtol=1e-5, atol=1e-3)
