"""BSeGN, a VAE-GAN that synthesises features of unseen classes, kept in balance by an embedding it learns along with.

Xie, Zhang, Xiang, Zhao, Zhang, Shao, Li: "Leveraging Balanced Semantic Embedding for Generative Zero-Shot Learning",
IEEE TNNLS 34(11), 9575-9582, 2023, doi 10.1109/TNNLS.2022.3208525.

This is a reconstruction from the abstract: no more of the paper, and no code of its authors, was at hand. The abstract
fixes the parts: GAN and VAE; a feature-to-semantic embedding module (FEM) that learns online, together with the
generator, to tell real seen from fake unseen features; bidirectional contrastive and balance losses for it, whose
improved embedding improves the generator in turn; a multilevel feature integration module (mFIM) taken from the
cycle-consistency branch. How each is built is inferred from the methods it grows out of (f-VAEGAN-D2, CVPR 2019;
TF-VAEGAN, ECCV 2020), and an inferred choice is a field of `Config`, `Cycle`, `Embedding` or `Widths`:

- the layers' widths, the noise's width, how the VAE, GAN, cycle and FEM terms are weighted, all learning rates and
  betas, how many critic steps an iteration has (`critic_steps`), the weight of the gradient penalty and whether it
  adapts;
- whether the critic sees seen-class fakes decoded from encoded images or from the prior (`seen_latents`);
- the cycle branch's depth, whether it learns from fakes too, which fakes the generator's cycle term is on (`cycle`);
- FEM as cosine scores at a temperature, its contrastive directions (`v2s`, `s2v`), both forms of its balance loss,
  online or trained once on real images and frozen, its own network or the cycle branch (`shared`), with or without
  the mean class vector subtracted (`centre`);
- what FEM's prediction is for: it teaches the generator, and the final classifier begins as FEM and learns what that
  leaves open (`joint`), which is how "embedding" and "generative" learning are read as one method;
- mFIM as a concatenation of the image's features with hidden layers of the cycle branch and its output (`levels`);
- the number of synthesised features, of each unseen class (`synthetic`) or to a real one (`proportion`), the
  standardisation of what the final classifier reads (`length`), and all of that classifier.

Taken from those methods and fixed here: how many layers each other network has, all activations and how weights begin,
the form of the cycle loss, and that unseen classes are drawn uniformly.

The settings of CUB, FLO, SUN and AWA begin from those of TF-VAEGAN's program; for APY it has none. Where that program
does otherwise than this package: an epoch of it is two passes over the images, the second with its feedback, here it is
one; the weight of its gradient penalty adapts, here only with `penalty_adapts`; its cycle branch learns from fakes too
on CUB, FLO and SUN, and its cycle term is on seen fakes alone (`cycle.fakes`, `cycle.unseen`); its classifier's
minibatch is as large as N_syn.

The semantics of unseen classes, not their images, take part in training.

The package: `config` has the params; `networks` E, G, D, the cycle branch R and FEM f; `losses` every equation, in the
order in which an iteration uses them; `model` what is kept after training, with mFIM and the synthesis; `trainer` the
loop.
"""

from pipeline.models.bsegn.config import Config
from pipeline.models.bsegn.model import Model

__all__ = ["Config", "Model"]
