"""What `pipeline.study search` draws for HSVA. Epochs and widths, which decide how long it takes, are the user's."""

from pipeline.models.base.space import OneOf, times

SPACE = {
    "lr": times(5e-5, 3e-3),
    "networks.latent": OneOf((32, 64, 128, 256)),
    "beta.most": times(0.02, 2.0),
    "gamma_c.most": times(0.5, 10.0),
    "lambda_d.most": times(0.3, 30.0),
    "latents": OneOf(("raw", "standardised")),
    "seen_samples": OneOf((100, 200, 400)),
    "unseen_samples": OneOf((200, 400, 800)),
    "classifier.lr": times(3e-4, 3e-2),
    "classifier.batch": OneOf((32, 64, 128)),
}
