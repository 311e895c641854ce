"""Pictures of training, data and latent space, as matplotlib figures.

Each function returns a ``matplotlib.figure.Figure``. pyplot is not used, and the caller's rcParams stay as they were;
for figures of one's own in this style there are ``STYLE``, as in ``pyplot.rcParams.update(STYLE)``, and ``PALETTE``.
"""

from reparam.plots.diagnosis import diagnosis, rate_distortion
from reparam.plots.pictures import images, manifold, reconstructions
from reparam.plots.space import latent
from reparam.plots.style import PALETTE, STYLE, png_bytes, save
from reparam.plots.training import curves
from reparam.plots.vectors import marginals

__all__ = [
    "PALETTE",
    "STYLE",
    "curves",
    "diagnosis",
    "images",
    "latent",
    "manifold",
    "marginals",
    "png_bytes",
    "rate_distortion",
    "reconstructions",
    "save",
]
