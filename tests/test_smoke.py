import torch

import reparam as rp


def test_a_model_trains_and_improves():
    x = (torch.rand(256, 6) < 0.2).float()
    vae = rp.recipes.vae(6, 2, hidden=(16,))
    history = rp.fit(vae, x, epochs=3, batch_size=32, validation=0.2)
    assert history["validation_objective"][-1] > history["validation_objective"][0]
