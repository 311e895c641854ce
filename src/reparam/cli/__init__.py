"""The command ``reparam``. Only the modules of its work import torch; help and errors of usage come without it."""
