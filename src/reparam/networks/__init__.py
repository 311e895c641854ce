"""Networks: functions from tensors to tensors, which know nothing of probability."""

from reparam.networks.cells import Cells, Floored
from reparam.networks.convolution import ConvDecoder, ConvEncoder, conv
from reparam.networks.masked_codes import MaskedCodes
from reparam.networks.perceptron import ACTIVATIONS, MLP, Log1p, Lowest, Rescale, WithoutLast, activation, mlp
from reparam.networks.quantizers import Codebook, Lattice
from reparam.networks.sets import SetEncoder

__all__ = [
    "ACTIVATIONS", "MLP", "Cells", "Codebook", "ConvDecoder", "ConvEncoder", "Floored", "Lattice", "Log1p", "Lowest",
    "MaskedCodes", "Rescale", "SetEncoder", "WithoutLast", "activation", "conv", "mlp",
]  # fmt: skip
