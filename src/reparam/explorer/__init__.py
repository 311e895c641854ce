"""The explorer: a page in which people walk in the latent space, as one file or from a server."""

from reparam.explorer.program import NotInThePageError
from reparam.explorer.view import View, file_page, look

__all__ = ["NotInThePageError", "View", "file_page", "look"]
