"""BSeGN's losses, from the critic's to the generator's.

x are a real image's features, a its class's semantics, y its class among the C seen and unseen ones; x~ = G(z, a) is a
fake, x^ a point between the two, p(c | x) the softmax over classes of FEM's scores. Each is the mean over a batch.

(1) critic       L_D = gamma { E[D(x~, a)] - E[D(x, a)] + penalty E[(|grad D(x^, a)| - 1)^2] }
(2) VAE          L_VAE = BCE(G(z, a), x) + KL(q(z | x, a) || N(0, I)), z drawn from E(x, a)
(3) cycle        L_cyc = sum_k w_k |R(x)_k - a_k|
(4) contrastive  v2s = -log p(y | x); s2v the same with the softmax over the images of the batch
(5) balance      the gap between seen and unseen classes in FEM's confidence
(6) FEM          L_FEM = v2s + s2v + lambda_bal balance
(7) generator    L_G = L_VAE - gamma E[D(x~, a)] + lambda_cyc L_cyc(x~) + lambda_fem gamma (v2s + s2v)(x~)

(1) to (3) are those of the methods it grows out of; of (4) to (7) the abstract has the words and this reconstruction
the form (see the package).
"""

import torch
from torch.nn import functional as F

from pipeline.models.base.working import product
from pipeline.models.bsegn.networks import SLOPE


def critic_gradients(critic, real, fake, a, mix, gamma, penalty):
    """(1) The gradients of L_D for the critic's parameters: L_WGAN of f-VAEGAN-D2, with the gradient penalty of WGAN-GP
    (Gulrajani et al., NeurIPS 2017, equation 3).

    real, fake: n x d_x; a: n x d_a; mix: n x 1 in [0, 1]; x^ = mix * real + (1 - mix) * fake
    Returns the gradients of hidden.weight (in bfloat16 where autocast's products are), hidden.bias, out.weight and
    out.bias, and three detached terms: the distance E[D(real)] - E[D(fake)], the mean penalty and the mean of
    |grad D(x^)|.

    With one hidden layer h = W x + V a + b and D = u . lrelu(h) + c, the gradient at x^ is g = W'(s * u), s being
    lrelu's slopes there. s is constant almost everywhere, so the penalty reaches only W and u, and what autograd does
    by differentiating twice is two products with W. h is linear in x, so that of x^ is mixed from the other two.
    """
    n, d_x = real.shape
    weight, u = critic.hidden.weight, critic.out.weight
    # rows of x, of x~ and, once it is known, of q, in the type that both products with them are in
    inputs = weight.new_zeros(3 * n, weight.shape[1])
    inputs[:n, :d_x], inputs[n : 2 * n, :d_x], inputs[: 2 * n, d_x:] = real, fake, a.repeat(2, 1)
    q, of_x = inputs[2 * n :, :d_x], weight[:, :d_x]
    # autocast's products come back in bfloat16; all that is summed here is summed in the features' own type
    exact = real.dtype
    hidden = critic.hidden(inputs[: 2 * n]).to(exact)
    # of x, x~ and x^
    slopes = _slopes(torch.cat([hidden, torch.lerp(hidden[n:], hidden[:n], mix)]))
    outer = slopes * u
    g = (outer[2 * n :] @ of_x).to(exact)
    length = g.norm(dim=1, keepdim=True)
    q.copy_(g * ((2 * gamma * penalty / n) * (length - 1) / length.clamp_min(1e-12)))
    active, signs = hidden * slopes[: 2 * n], hidden.new_full((2 * n, 1), gamma / n)
    signs[:n] *= -1
    outer[: 2 * n] *= signs
    of_weight = product(outer.T, inputs, critic.hidden.memory)
    of_u = (active * signs).sum(0) + (slopes[2 * n :] * (q @ of_x.T)).sum(0)
    scores = active @ u[0]
    terms = (scores[:n].mean() - scores[n:].mean()).float(), (length - 1).square().mean(), length.mean()
    return (of_weight, outer[: 2 * n].sum(0), of_u[None], torch.zeros_like(critic.out.bias)), terms


def penalty_factor(penalty):
    """By what the weight of the penalty changes after an iteration, from the mean E[(|grad D(x^)| - 1)^2] of it.

    The rule of f-VAEGAN-D2's and TF-VAEGAN's programs: it settles where that mean lies between 1.001 and 1.05.
    """
    return torch.where(penalty > 1.05, 1.1, torch.where(penalty < 1.001, 1 / 1.1, 1.0))


def _slopes(hidden):
    # as `where(hidden > 0, 1, SLOPE)`, which takes ten times as long on a processor
    return hidden.sign().clamp_min(SLOPE)


def reconstruction(logits, x):
    """(2) Batch mean of the binary cross entropy of sigmoid(logits) with x in [0, 1], summed over dimensions.

    As in TF-VAEGAN's program, -log p(x | z, a) of f-VAEGAN-D2's L_VAE. logits, x: N x d_x
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)


def kl_divergence(mean, log_variance):
    """(2) Batch mean of KL(N(mean, exp(log_variance)) || N(0, I)); mean, log_variance: N x latent.

    Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


def cycle_loss(embedded, a):
    """(3) Batch mean of sum_k w_k |R(x)_k - a_k| with w_k = (R(x)_k - a_k)^2 / |R(x) - a|_2.

    The L1 cycle-consistency loss of TF-VAEGAN's semantic embedding decoder, weighted as its program does.
    embedded, a: N x d_a
    """
    error = (embedded - a).abs()
    # the floor keeps the gradient finite where a row is met exactly
    length = error.square().sum(1).clamp_min(1e-12).sqrt()
    return (error.pow(3).sum(1) / length).mean()


def cosines(embedded, targets, temperature):
    """(4) FEM's scores s(x, c) = <f(x), a_c> / tau: B x d_a and C x d_a, rows of length one -> B x C."""
    return embedded @ targets.T / temperature


def contrastive(scores, labels, seen, own_domain=False):
    """(4) The two contrastive losses of FEM, the abstract's "bidirectional": InfoNCE (van den Oord et al., 2018) twice.

    v2s: visual to semantic, the mean over images of -log softmax over classes at the image's own. Since these are all
         C, FEM learns to tell real seen from fake unseen images
    s2v: semantic to visual, the mean over the batch's classes of the mean over the class's images of -log softmax over
         the batch's images

    scores: B x C, cosines over the temperature; labels: B classes, those below `seen` are seen ones
    own_domain: keep each denominator to classes, or images, of the same domain as the image, or class
    """
    classes = torch.arange(scores.shape[1], device=scores.device)
    if own_domain:
        same = (labels < seen)[:, None] == (classes < seen)
        scores = scores.masked_fill(~same, -1e4)
    v2s = F.cross_entropy(scores, labels)
    positive = labels[:, None] == classes
    count = positive.sum(0)
    of_class = torch.where(positive, F.log_softmax(scores, 0), 0).sum(0) / count.clamp_min(1)
    return v2s, -of_class.sum() / (count > 0).sum()


def bidirectional(config, v2s, s2v):
    """(4) Those directions of the contrastive loss that an `Embedding` asks for, summed."""
    return config.v2s * v2s + config.s2v * s2v


def domain_confidence(scores, labels, seen):
    """(5) Mean own-domain confidence of the images of seen and of unseen classes.

    scores: B x C; labels: B classes, those below `seen` are seen ones. A gap between the two is the abstract's symptom.
    """
    p = torch.softmax(scores, 1)
    is_seen = labels < seen
    best = torch.where(is_seen, p[:, :seen].amax(1), p[:, seen:].amax(1))
    return (best * is_seen).sum() / is_seen.sum(), (best * ~is_seen).sum() / (~is_seen).sum()


def balance_loss(form, scores, labels, seen, temperature):
    """(5) FEM's balance loss, by the abstract for a balanced prediction in both domains; its form is inferred.

    domain_mean: (mean over seen images of max_{c in S} p(c | x) - mean over unseen ones of max_{c in U} p(c | x))^2
    per_sample:  mean over images of (max_{c in S} - max_{c in U})^2 of the cosines, which are scores * temperature
    """
    if form == "domain_mean":
        in_seen, in_unseen = domain_confidence(scores, labels, seen)
        return (in_seen - in_unseen).square()
    return ((scores[:, :seen].amax(1) - scores[:, seen:].amax(1)) * temperature).square().mean()


def fem_loss(config, v2s, s2v, balance):
    """(6) L_FEM, by which FEM learns, under an `Embedding`."""
    return bidirectional(config, v2s, s2v) + config.balance_weight * balance


def generator_loss(config, bce, kl, adversarial, cycle, v2s, s2v):
    """(7) L_G, by which encoder and generator learn, under a `Config`; terms of parts that are switched off are 0.

    Its first line is f-VAEGAN-D2's L_VAEGAN; with the cycle, on seen fakes alone, it is TF-VAEGAN's; the last is the
    abstract's "in turn": what FEM has learned improves the generator.
    """
    loss = bce + kl + config.gamma * adversarial
    loss = loss + config.cycle.weight * cycle
    return loss + config.fem.weight * config.gamma * bidirectional(config.fem, v2s, s2v)
