"""Small configs for the tests: those of params.yaml, but for what is named here and what a test changes."""

from benchmarks import configs


def hsva(**changes):
    """HSVA, small enough to train in a blink. Changes are nested: `hsva(networks={"latent": 1}, lr=0.01)`."""
    small = {
        "epochs": 10,
        "batch": 10,
        "networks": {"hidden": 32, "aligned": 16, "common": 16, "latent": 8, "decoder": 32, "task": 12},
        "lr": 1e-3,
        "projections": 16,
        "beta": {"end": 4},
        "gamma_c": {"start": 1, "end": 3, "most": 2.0},
        "lambda_d": {"end": 2, "most": 1.0},
        "reparameterization": "standard",
        "latents": "standardised",
        "seen_samples": 20,
        "unseen_samples": 30,
        "czsl_samples": 15,
        "classifier": {"gzsl_epochs": 10, "czsl_epochs": 10, "lr": 0.01},
    }
    return configs.config("hsva", "cub", small, changes)


def bsegn(**changes):
    """BSeGN likewise, with all of its parts on."""
    small = {
        "epochs": 3,
        "batch": 8,
        "lr": 1e-3,
        "levels": 2,
        "synthetic": 6,
        "proportion": None,
        "length": None,
        "widths": {"encoder": 20, "generator": 24, "critic": 28, "cycle1": 16, "cycle2": 12, "fem": 18},
        "cycle": {"depth": 2, "lr": 1e-3},
        "fem": {"lr": 1e-3, "frozen_epochs": 2, "joint": 0.0},
        "classifier": {"gzsl_epochs": 2, "czsl_epochs": 2, "batch": 8},
    }
    return configs.config("bsegn", "cub", small, changes)
