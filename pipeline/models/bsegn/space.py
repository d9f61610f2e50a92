"""What `pipeline.study search` draws for BSeGN. Epochs and widths, which decide how long it takes,
are the user's; so are the parts of the method, which `pipeline.study ablate` compares."""

from pipeline.models.base.space import OneOf, times

SPACE = {
    "lr": times(3e-5, 3e-3),
    "gamma": times(0.1, 30.0),
    "penalty": times(0.3, 30.0),
    "critic_steps": OneOf((1, 2, 5)),
    "latent": OneOf((16, 64, None)),  # None: as wide as the semantics
    "length": times(3.0, 30.0),
    "synthetic": OneOf((100, 200, 400, 800)),
    "proportion": times(1.0, 10.0),
    "cycle.weight": times(1e-3, 1.0),
    "cycle.lr": times(1e-5, 3e-3),
    "fem.weight": times(3e-3, 3.0),
    "fem.lr": times(1e-5, 3e-3),
    "fem.temperature": times(0.02, 0.2),
    "fem.joint": OneOf((0.0, 0.5, 1.0, 2.0)),
    "fem.balance_weight": times(0.1, 10.0),
    "classifier.lr": times(1e-4, 1e-2),
    "classifier.batch": OneOf((64, 128, 300, 1000)),
}
