"""Networks: functions from tensors to tensors, which know nothing of probability."""

from reparam.networks.convolution import ConvDecoder, ConvEncoder, conv
from reparam.networks.perceptron import ACTIVATIONS, MLP, Log1p, Lowest, Rescale, activation, mlp

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "Log1p",
    "Lowest",
    "Rescale",
    "activation",
    "conv",
    "mlp",
]
