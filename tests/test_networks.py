"""Networks: shapes for every layout, and rows that know nothing of each other."""

from __future__ import annotations

import inspect
import tomllib

import pytest
import torch

from models import Function
from reparam import networks
from reparam.conditional import apply_to_rows
from reparam.errors import InputError
from reparam.likelihoods import Bernoulli, Gaussian
from reparam.networks.convolution import group_norm, image_layout
from reparam.run import describe, dump_toml, rebuild, spec

pytestmark = pytest.mark.usefixtures("double")

SHAPES = [(28, 28), (9, 5), (4, 4), (1, 16, 16), (3, 8, 8), (2, 7, 13), (5, 11, 6), (16, 16, 1), (8, 10, 3), (13, 7, 2)]
LEADS = [(), (4,), (2, 4), (2, 1, 3)]
ARRAYS = [5, (5,), (3, 4), (2, 3, 4)]


def as_tuple(shape):
    return (shape,) if isinstance(shape, int) else shape


@pytest.mark.parametrize("lead", LEADS, ids=str)
@pytest.mark.parametrize("inputs", ARRAYS, ids=str)
@pytest.mark.parametrize("outputs", ARRAYS, ids=str)
def test_mlp_maps_arrays_to_arrays(inputs, outputs, lead):
    net = networks.mlp(inputs, outputs, (7,))
    assert net(torch.randn(*lead, *as_tuple(inputs))).shape == (*lead, *as_tuple(outputs))


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)], ids=str)
@pytest.mark.parametrize("activation", sorted(networks.ACTIVATIONS))
def test_mlp_is_the_composition_that_its_sizes_name(hidden, activation):
    net = networks.mlp((2, 2), 3, hidden, activation)
    x = torch.randn(5, 2, 2)
    linear = [m for m in net.layers if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == list(zip((4, *hidden), (*hidden, 3), strict=True))
    h = x.flatten(1)
    for layer in linear[:-1]:
        h = networks.activation(activation)(layer(h))
    torch.testing.assert_close(net(x), linear[-1](h), atol=1e-14, rtol=0)
    assert net.last is linear[-1]


def test_mlp_appends_contexts_of_any_shape_to_its_input():
    net = networks.mlp(3, 2, (), context=5)
    x, a, b = torch.randn(4, 3), torch.randn(4, 2, 2), torch.randint(2, (4, 1))
    flat = torch.cat([x, a.flatten(1), b.double()], 1)
    torch.testing.assert_close(net(x, a, b), net.last(flat), atol=1e-15, rtol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("channels", [(3,), (3, 4)], ids=str)
def test_conv_encoder_and_decoder_are_of_one_image(shape, channels):
    encoder, decoder = networks.conv(shape, 6, channels), networks.conv(6, shape, channels)
    for lead in LEADS:
        code = encoder(torch.randn(*lead, *shape))
        assert code.shape == (*lead, 6)
        assert decoder(code).shape == (*lead, *shape)


@pytest.mark.parametrize("prefix", [(2,), (1,), (2, 3)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_prefix_repeats_the_image(shape, prefix):
    decoder = networks.conv(6, shape, (3,), prefix=prefix)
    assert decoder(torch.randn(4, 6)).shape == (4, *prefix, *shape)
    assert decoder(torch.randn(2, 4, 6)).shape == (2, 4, *prefix, *shape)


@pytest.mark.parametrize(("first", "last"), [((3, 8, 10), (8, 10, 3)), ((1, 9, 6), (9, 6, 1))], ids=["colour", "grey"])
def test_channels_first_and_last_are_the_same_network(first, last):
    """With equal weights, and inputs and outputs whose axes are moved: the same numbers."""
    one, other = networks.conv(first, 5, (3, 4)), networks.conv(last, 5, (3, 4))
    other.load_state_dict(one.state_dict())
    x = torch.randn(4, *first)
    torch.testing.assert_close(other(x.movedim(1, -1)), one(x), atol=1e-13, rtol=0)
    one, other = networks.conv(5, first, (3, 4), prefix=(2,)), networks.conv(5, last, (3, 4), prefix=(2,))
    other.load_state_dict(one.state_dict())
    z = torch.randn(4, 5)
    torch.testing.assert_close(other(z), one(z).movedim(2, -1), atol=1e-13, rtol=0)


def test_each_output_of_a_decoder_depends_on_its_own_channel_of_the_last_layer():
    """The images of a prefix, and their colours, are not mixed up: a change of one bias moves one of them alone."""
    for shape, axis in (((3, 8, 10), 2), ((8, 10, 3), 4)):
        decoder = networks.conv(5, shape, (4,), prefix=(2,))
        z = torch.randn(3, 5)
        before = decoder(z)
        with torch.no_grad():
            decoder.last.bias[4] += 1  # image 1, colour 1, of 2 x 3
        change = (decoder(z) - before).movedim(axis, 2)
        expected = torch.zeros_like(change)
        expected[:, 1, 1] = 1
        torch.testing.assert_close(change, expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((28, 20), (1, 28, 20, False)),
        ((3, 28, 20), (3, 28, 20, False)),
        ((28, 20, 3), (3, 28, 20, True)),
        ((28, 20, 1), (1, 28, 20, True)),
        ((1, 28, 4), (1, 28, 4, False)),
        ((16, 9, 9), (16, 9, 9, False)),
    ],
    ids=str,
)
def test_layout_follows_from_the_shape(shape, layout):
    assert image_layout(shape) == layout


@pytest.mark.parametrize(("shape", "most"), [((8, 8), 3), ((9, 5), 2), ((3, 7, 13), 2), ((64, 3, 3), 1)], ids=str)
def test_as_many_stages_as_halvings_and_no_more(shape, most):
    for network in (lambda c: networks.conv(shape, 2, c), lambda c: networks.conv(2, shape, c)):
        network((2,) * most)
        with pytest.raises(InputError, match=f"at most {most}"):
            network((2,) * (most + 1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: networks.conv(5, 5),
        lambda: networks.conv((8, 8), (8, 8)),
        lambda: networks.conv((8,), 5),
        lambda: networks.conv((1, 2, 8, 8), 5),
        lambda: networks.conv((8, 8), 5, ()),
        lambda: networks.conv((8, 8), 5, (0,)),
        lambda: networks.mlp(0, 3),
        lambda: networks.mlp((), 3),
        lambda: networks.mlp(3, 3, (5, -1)),
        lambda: networks.mlp(3, 3, activation="rely"),
    ],
)
def test_sizes_and_names_that_make_no_network_are_refused(make):
    with pytest.raises(InputError):
        make()


def test_an_unknown_activation_names_the_nearest():
    with pytest.raises(InputError, match="relu"):
        networks.mlp(3, 3, activation="rely")


@pytest.mark.parametrize("net", [networks.mlp((4, 4), 3), networks.conv((4, 4), 3)], ids=["mlp", "conv"])
def test_data_of_another_shape_are_refused_by_shape(net):
    with pytest.raises(InputError, match=r"\(4, 4\).*\(4, 5\)"):
        net(torch.randn(2, 4, 5))


OPTIONS = {
    "plain": {},
    "residual": {"residual": True},
    "gated": {"gated": True},
    "norm": {"norm": True},
    "all": {"residual": True, "gated": True, "norm": True},
}
NETS = {
    "mlp": (lambda: networks.mlp((4, 6), 3, (7,)), (4, 6)),
    "encoder": (lambda: networks.conv((4, 6), 3, (5,)), (4, 6)),
    "decoder": (lambda: networks.conv(3, (4, 6), (5,)), (3,)),
    "set": (lambda: networks.SetEncoder((4, 6), 3, (7,), "tanh"), (4, 6)),
    "rescale": (lambda: networks.Rescale(networks.mlp(3, 2), torch.ones(3), torch.full((3,), 2.0)), (3,)),
    "cells": (lambda: networks.Cells(networks.mlp(8, 2), (0, 1, 3), torch.ones(3), torch.full((3,), 2.0)), (3,)),
    "cells without mask": (
        lambda: networks.Cells(networks.mlp(2, 2), (0, 1), torch.zeros(2), torch.ones(2), False), (2,)),
    "floored": (lambda: networks.Floored(networks.mlp(3, (4, 2)), 1, torch.tensor([-1.0, 0.5])), (3,)),
    "lowest": (lambda: networks.Lowest(networks.mlp(3, 2), 3), (3,)),
    "without last": (lambda: networks.WithoutLast(networks.mlp(3, 2)), (3,)),
    **{f"mlp {n}": (lambda o=o: networks.mlp(4, 3, (7, 7), "tanh", **of("layer", o)), (4,))
       for n, o in OPTIONS.items()},
    **{f"encoder {n}": (lambda o=o: networks.conv((7, 6), 3, (8, 5), "tanh", **of("group", o)), (7, 6))
       for n, o in OPTIONS.items()},
    **{f"decoder {n}": (lambda o=o: networks.conv(3, (7, 6), (8, 5), "tanh", **of("group", o)), (3,))
       for n, o in OPTIONS.items()},
}  # fmt: skip


WRAPPERS = "rescale", "cells", "cells without mask", "floored", "lowest", "without last"  # which pass contexts on


def of(norm, options):
    """The options, with the kind of normalisation that this network has."""
    return {name: norm if name == "norm" else value for name, value in options.items()}


@pytest.mark.parametrize(("make", "shape"), NETS.values(), ids=NETS)
def test_a_row_of_the_output_depends_on_its_row_of_the_input_alone(make, shape):
    """The Jacobian between different rows is zero, and a row alone gives what it gives among others."""
    net, x = make(), torch.randn(3, *shape)
    jacobian = torch.autograd.functional.jacobian(net, x).flatten(len(net(x).shape)).reshape(3, -1, 3, x[0].numel())
    for i in range(3):
        for j in range(3):
            assert bool((jacobian[i, :, j] == 0).all()) == (i != j)
        torch.testing.assert_close(net(x[i : i + 1])[0], net(x)[i], atol=1e-13, rtol=0)


def test_rescale_gives_its_network_numbers_of_order_one():
    loc, spread = torch.tensor([1e3, -5.0]), torch.tensor([100.0, 0.01])
    net = networks.Rescale(Function(lambda x, *c: x + sum(c)), loc, spread)
    x = torch.tensor([[1100.0, -4.99]])
    torch.testing.assert_close(net(x), torch.tensor([[1.0, 1.0]]), atol=1e-12, rtol=0)
    torch.testing.assert_close(net(x, torch.ones(1, 2)), torch.tensor([[2.0, 2.0]]), atol=1e-12, rtol=0)


LIKELIHOODS = {
    "mlp": lambda: Bernoulli(networks.mlp(3, (4, 6))),
    "conv": lambda: Bernoulli(networks.conv(3, (4, 6), (5,))),
    "predicted scale": lambda: Gaussian(networks.conv(3, (4, 6), (5,), prefix=(2,)), "predicted"),
}


@pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_leading_dimensions_are_a_loop(make):
    """A likelihood of z (K, B, D) is the stack of K likelihoods of (B, D), and of K B likelihoods of one code."""
    likelihood, z = make(), torch.randn(2, 3, 3)
    x = torch.randint(2, (3, 4, 6)).double()
    together = likelihood(z).log_prob(x)
    assert together.shape == (2, 3)
    for k in range(2):
        torch.testing.assert_close(likelihood(z[k]).log_prob(x), together[k], atol=1e-11, rtol=0)
        for b in range(3):
            torch.testing.assert_close(likelihood(z[k, b]).log_prob(x[b]), together[k, b], atol=1e-11, rtol=0)


def test_contexts_are_folded_with_the_codes_that_they_belong_to():
    z, c = torch.randn(2, 3, 4), torch.randn(2, 3, 5, 6)
    both = Function(lambda z, c: torch.cat([z, c.flatten(1)], 1))
    out = apply_to_rows(both, z, c)
    assert torch.equal(out, torch.cat([z, c.flatten(2)], -1))


# ---- residual, gated and normalised layers ----


def test_a_gated_layer_is_one_linear_map_times_the_sigmoid_of_another():
    net, x = networks.mlp(3, 2, (4,), gated=True), torch.randn(5, 3)
    first, last = net.layers[0], net.last
    h, g = x @ first.weight[:4].T + first.bias[:4], x @ first.weight[4:].T + first.bias[4:]
    torch.testing.assert_close(net(x), last(h * torch.sigmoid(g)), atol=1e-14, rtol=0)


@pytest.mark.parametrize("hidden", [(4,), (3, 3)], ids=str)
def test_a_residual_layer_adds_its_input_through_a_linear_map_where_sizes_differ(hidden):
    net, x = networks.mlp(3, 2, hidden, "tanh", residual=True, norm="layer"), torch.randn(5, 3)
    h = x
    for size, layer in zip(hidden, net.layers, strict=False):
        linear, norm = layer.inner[0], layer.inner[1]
        inner = torch.nn.functional.layer_norm(linear(h), (size,)).tanh() * norm.weight[0] + norm.bias[0]
        h = inner + (h if h.shape[-1] == size else h @ layer.skip.weight.T)
    torch.testing.assert_close(net(x), net.last(h), atol=1e-13, rtol=0)


@pytest.mark.parametrize("channels", [*range(1, 40), 64, 96, 256, 1024])
def test_groups_divide_the_channels_and_leave_at_least_four_in_each(channels):
    norm = group_norm(channels)
    assert channels % norm.num_groups == 0
    assert norm.num_groups <= 32
    assert channels // norm.num_groups >= min(4, channels)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("shape", [(13, 17, 3), (5, 9), (1, 7, 6), (17, 13, 11)], ids=str)
def test_convolutions_of_any_size_map_and_train(shape, options):
    """An image and its code fit each other, and every parameter has a gradient that is finite and not all zero."""
    options, image = of("group", options), torch.randn(4, *shape)
    c = torch.randn(4, 2)
    encoder = networks.conv(shape, 6, (3, 8), context=2, **options)
    decoder = networks.conv(6, shape, (3, 8), prefix=(2,), context=2, **options)
    out = decoder(encoder(image, c), c)
    assert out.shape == (4, 2, *shape)
    (out - image.unsqueeze(1)).square().sum().backward()
    for name, p in [*encoder.named_parameters(), *decoder.named_parameters()]:
        assert p.grad is not None, name
        assert bool(p.grad.isfinite().all()), name
        assert float(p.grad.abs().max()) > 0, name


@pytest.mark.parametrize("name", [n for n in NETS if n not in WRAPPERS])
def test_contexts_change_the_output_of_every_network_and_belong_to_their_row(name):
    make, shape = NETS[name]
    plain = make()
    kept = [p for p in inspect.signature(type(plain)).parameters if p != "self"]
    net = type(plain)(**{p: getattr(plain, p) for p in kept} | {"context": 5})
    x, a, b = torch.randn(3, *shape), torch.randn(3, 2, 2), torch.randint(2, (3, 1))
    out = net(x, a, b)
    moved = a.clone()
    moved[1] += 1
    changed = (net(x, moved, b) - out).flatten(1).abs().amax(1)
    assert changed.gt(1e-6).tolist() == [False, True, False]
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(net(x[order], a[order], b[order]), out[order], atol=1e-12, rtol=0)
    lead = net(*(t.unsqueeze(0).expand(2, *t.shape) for t in (x, a, b)))
    torch.testing.assert_close(lead, out.expand(2, *out.shape), atol=1e-12, rtol=0)
    for wrong in ((), (a,), (a, b, b)):
        with pytest.raises(InputError, match="contexts of 5 numbers"):
            net(x, *wrong)
    with pytest.raises(InputError, match="each needs its own"):
        net(x, a[:2], b)
    with pytest.raises(InputError, match="contexts of 0 numbers"):
        plain(x, a)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: networks.mlp(3, 3, norm="batch"), "it takes 'layer'"),
        (lambda: networks.mlp(3, 3, (4, 1), norm="layer"), "1 number"),
        (lambda: networks.conv((8, 8), 3, norm="layer"), "it takes 'group'"),
        (lambda: networks.conv((2, 2), 3, (1,), norm="group"), "1 channel"),
        (lambda: networks.SetEncoder(3, 3, features=0), "features"),
    ],
)
def test_options_that_make_no_network_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()


# ---- sets of known elements ----


@pytest.fixture
def holed():
    """A set encoder of 2 x 3 elements, and data of which some, all and none are known."""
    x = torch.randn(4, 2, 3)
    seen = torch.rand(4, 2, 3) < 0.5
    seen[0], seen[1], seen[2, 0, 0] = True, False, True
    return networks.SetEncoder((2, 3), 5, (7,), "tanh", features=8, embedding=4), x, seen


def test_a_set_encoder_reads_nan_as_missing_and_nothing_of_what_stands_there(holed):
    net, x, seen = holed
    out = net(torch.where(seen, x, torch.nan))
    assert bool(out.isfinite().all())
    for value in (0.0, 1e30, -torch.inf, torch.inf, torch.nan):
        assert torch.equal(net.known(torch.where(seen, x, value), seen), out)
    with_hole = torch.where(seen, x, torch.nan).requires_grad_()
    (slope,) = torch.autograd.grad(net(with_hole).square().sum(), with_hole)
    assert bool(((slope == 0) == ~seen).all())
    assert bool(slope.isfinite().all())


def test_a_set_encoder_is_the_network_of_the_sum_over_what_is_known(holed):
    """By its definition, element by element; where nothing is known, that of zero."""
    net, x, seen = holed
    expected = []
    for row, known in zip(x.flatten(1), seen.flatten(1), strict=True):
        total = torch.zeros(8)
        for d in known.nonzero().flatten().tolist():
            total = total + net.element(torch.cat([row[d : d + 1], net.identities[d]])).tanh()
        expected.append(net.net(total))
    out = net.known(x, seen)
    torch.testing.assert_close(out, torch.stack(expected), atol=1e-13, rtol=0)
    torch.testing.assert_close(out[1], net.net(torch.zeros(8)), atol=1e-15, rtol=0)


def test_elements_that_move_together_with_their_identities_change_nothing(holed):
    net, x, seen = holed
    out, order = net.known(x, seen), torch.randperm(6)
    with torch.no_grad():
        net.identities.copy_(net.identities[order].clone())
    moved, mask = (t.flatten(1)[:, order].reshape(4, 2, 3) for t in (x, seen))
    torch.testing.assert_close(net.known(moved, mask), out, atol=1e-13, rtol=0)
    other = net.known(x, seen)
    assert float((other - out)[0].detach().abs().max()) > 1e-3  # the identities matter


def test_every_network_that_a_file_rebuilds_is_in_the_law_of_rows():
    listed = {cls for name, cls in spec._OWN.items() if name.startswith("networks.")} - {networks.Log1p}
    assert {type(make()) for make, _ in NETS.values()} == listed


@pytest.mark.parametrize("name", [n for n in NETS if n not in ("rescale", "without last", "decoder")])
def test_a_description_rebuilds_the_same_network(name):
    make, shape = NETS[name]
    net, x = make(), torch.randn(3, *shape)
    again = rebuild(tomllib.loads(dump_toml(describe(net))))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))
    assert describe(again) == describe(net)


def test_the_default_networks_have_the_weights_that_they_always_had():
    """Their options draw nothing: layers in their old order, under their old names."""
    torch.manual_seed(3)
    net = networks.mlp(3, 2, (4, 5))
    torch.manual_seed(3)
    old = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)
    )
    assert list(net.state_dict()) == [f"layers.{n}" for n in old.state_dict()]
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), old.parameters(), strict=True))
    torch.manual_seed(3)
    decoder = networks.conv(3, (9, 8), (4, 5))
    torch.manual_seed(3)
    first = torch.nn.Linear(3, 20)
    convs = [torch.nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in ((5, 4), (4, 1))]
    assert list(decoder.state_dict())[2:4] == ["layers.1.weight", "layers.1.bias"]
    for a, b in zip(decoder.parameters(), [p for m in (first, *convs) for p in m.parameters()], strict=True):
        assert torch.equal(a, b)
