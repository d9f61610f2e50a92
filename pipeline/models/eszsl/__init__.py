"""ESZSL, the closed-form floor: Romera-Paredes and Torr, "An embarrassingly simple approach to zero-shot learning",
ICML 2015. One bilinear form between features and semantics, ridge-regularised on both sides.

Selection chooses among pairs of regularisers as it chooses among epochs of the other models. It is short, and all of
it is in `model`.
"""

from pipeline.models.eszsl.model import Config, Model

__all__ = ["Config", "Model"]
