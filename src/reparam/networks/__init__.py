"""Networks: functions from tensors to tensors, which know nothing of probability."""

from reparam.networks.convolution import ConvDecoder, ConvEncoder, conv
from reparam.networks.masked_codes import MaskedCodes
from reparam.networks.perceptron import ACTIVATIONS, MLP, Log1p, Rescale, activation, mlp
from reparam.networks.quantizers import Codebook, Lattice

__all__ = [
    "ACTIVATIONS", "MLP", "Codebook", "ConvDecoder", "ConvEncoder", "Lattice", "Log1p", "MaskedCodes", "Rescale",
    "activation", "conv", "mlp",
]  # fmt: skip
