"""Every loss by hand, and the critic's closed form against autograd."""

import math

import pytest
import torch
from torch.nn import functional as F

from pipeline.models.bsegn import losses
from pipeline.models.bsegn.networks import Critic
from tests import configs


def critic_case(seed=0, d_x=7, d_a=3, width=11, n=5):
    generator = torch.Generator().manual_seed(seed)
    critic = Critic(d_x, d_a, width).double()
    for value in critic.parameters():
        value.data = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    real, fake = torch.rand(2, n, d_x, generator=generator, dtype=torch.float64)
    a, mix = torch.rand(n, d_a, generator=generator).double(), torch.rand(n, 1, generator=generator).double()
    # Critic.forward rounds scores to float32, these doubles shall not be
    critic.forward = lambda x, a: critic.out(F.leaky_relu(critic.hidden(torch.cat([x, a], 1)), 0.2)).squeeze(1)
    return critic, real, fake, a, mix


def test_penalty_of_a_critic_whose_gradient_is_known():
    critic = Critic(2, 1, 2)
    with torch.no_grad():
        # h = (3 x1, 4 x2), positive for the images below; D = h1 + h2, so its gradient is (3, 4), of length 5
        critic.hidden.weight.copy_(torch.tensor([[3.0, 0, 0], [0, 4, 0]]))
        critic.hidden.bias.zero_()
        critic.out.weight.fill_(1)
        critic.out.bias.fill_(7)
    real, fake = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.5, 0.25]])
    gradients, terms = losses.critic_gradients(critic, real, fake, torch.zeros(1, 1), torch.tensor([[0.5]]), 2, 10)
    assert [value.item() for value in terms] == pytest.approx([7 - 2.5, 16, 5])
    # of 2 (D(fake) - D(real)), a row's gradient is 2 (fake - real); of 2 * 10 (|g| - 1)^2 it is 2 * 20 * 4 * g / 5
    assert gradients[0][0].tolist() == pytest.approx([2 * -0.5 + 96, 2 * -0.75 + 128, 0])
    assert gradients[0][1].tolist() == pytest.approx([2 * -0.5 + 96, 2 * -0.75 + 128, 0])
    assert gradients[1].tolist() == [0, 0]
    assert gradients[2][0].tolist() == pytest.approx([2 * -1.5 + 160 * 9 / 5, 2 * -3 + 160 * 16 / 5])
    assert gradients[3].tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_closed_form_of_the_penalty_equals_double_backward(seed):
    critic, real, fake, a, mix = critic_case(seed)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    gradient = torch.autograd.grad(critic(between, a).sum(), between, create_graph=True)[0]
    penalty = (gradient.norm(dim=1) - 1).square().mean()
    loss = 3 * (critic(fake, a).mean() - critic(real, a).mean() + 10 * penalty)
    expected = torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)
    got, terms = losses.critic_gradients(critic, real, fake, a, mix, 3, 10)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert terms[1].item() == pytest.approx(penalty.item(), rel=1e-12)


def test_kl_divergence_by_hand():
    mean, log_variance = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, math.log(4)], [0.0, 0.0]])
    # 1/2 (1) + 1/2 (4 - 1 - log 4), and 1/2 (4)
    expected = (0.5 + 0.5 * (3 - math.log(4)) + 2) / 2
    assert losses.kl_divergence(mean, log_variance).item() == pytest.approx(expected)


def test_reconstruction_by_hand():
    logits = torch.tensor([[0.0, math.log(3)]])
    # sigmoids 1/2 and 3/4
    expected = -math.log(0.5) - (0.2 * math.log(0.75) + 0.8 * math.log(0.25))
    assert losses.reconstruction(logits, torch.tensor([[1.0, 0.2]])).item() == pytest.approx(expected)
    twice = losses.reconstruction(logits.repeat(2, 1), torch.tensor([[1.0, 0.2]]).repeat(2, 1))
    assert twice.item() == pytest.approx(expected)


def test_cycle_loss_by_hand():
    embedded, a = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 4.0], [1.0, 0.0]])
    # errors (3, -4) of length 5: (27 + 64) / 5; error (0, 1) of length 1: 1
    assert losses.cycle_loss(embedded, a).item() == pytest.approx((91 / 5 + 1) / 2)


def test_cycle_loss_where_a_row_is_met_exactly():
    embedded = torch.zeros(2, 3, requires_grad=True)
    loss = losses.cycle_loss(embedded, torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(embedded.grad).all()


# three images of seen class 0, one of seen class 1, two of unseen class 2; class 3, unseen, has none
SCORES = torch.tensor(
    [
        [2.0, 1.0, 0.5, 0.0],
        [1.5, 0.0, 0.3, 0.2],
        [0.1, 0.4, 1.0, 0.9],
        [0.0, 3.0, 0.2, 1.0],
        [0.7, 0.1, 1.2, 0.3],
        [1.1, 0.2, 0.6, 0.8],
    ]
)
LABELS = torch.tensor([0, 0, 0, 1, 2, 2])


@pytest.mark.parametrize("own_domain", [False, True])
def test_contrastive_by_hand(own_domain):
    s, y = SCORES.tolist(), LABELS.tolist()
    classes = [[0, 1] if label < 2 else [2, 3] for label in y] if own_domain else [range(4)] * 6
    v2s = -sum(s[i][y[i]] - math.log(sum(math.exp(s[i][c]) for c in classes[i])) for i in range(6)) / 6
    s2v = 0
    for c, positives in {0: [0, 1, 2], 1: [3], 2: [4, 5]}.items():
        images = ([0, 1, 2, 3] if c < 2 else [4, 5]) if own_domain else range(6)
        total = math.log(sum(math.exp(s[j][c]) for j in images))
        s2v -= sum(s[i][c] - total for i in positives) / len(positives) / 3
    got = losses.contrastive(SCORES, LABELS, 2, own_domain)
    assert [value.item() for value in got] == pytest.approx([v2s, s2v], rel=1e-5)


def test_contrastive_of_one_domain_alone_is_finite():
    scores = SCORES[:4].clone().requires_grad_()
    sum(losses.contrastive(scores, LABELS[:4], 2, own_domain=True)).backward()
    assert torch.isfinite(scores.grad).all()


def test_domain_mean_balance_by_hand():
    p = [[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in SCORES.tolist()]
    real, fake = sum(max(row[:2]) for row in p[:4]) / 4, sum(max(row[2:]) for row in p[4:]) / 2
    got = losses.balance_loss("domain_mean", SCORES, LABELS, 2, 0.05)
    assert got.item() == pytest.approx((real - fake) ** 2, rel=1e-5)


def test_per_sample_balance_by_hand():
    gaps = [2 - 0.5, 1.5 - 0.3, 0.4 - 1.0, 3 - 1, 0.7 - 1.2, 1.1 - 0.8]
    expected = sum((0.05 * gap) ** 2 for gap in gaps) / 6
    assert losses.balance_loss("per_sample", SCORES, LABELS, 2, 0.05).item() == pytest.approx(expected, rel=1e-5)


def test_cosines_over_the_temperature():
    embedded, targets = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    assert losses.cosines(embedded, targets, 0.05)[0].tolist() == pytest.approx([12, 16, 19.2])


@pytest.mark.parametrize(
    ("v2s", "s2v", "expected"), [(True, True, 2 + 3), (True, False, 2), (False, True, 3), (False, False, 0)]
)
def test_fem_and_generator_sum_what_is_switched_on(v2s, s2v, expected):
    fem = {"v2s": v2s, "s2v": s2v, "balance_weight": 0.5, "weight": 0.25}
    options = configs.bsegn(gamma=8.0, cycle={"weight": 0.1}, fem=fem)
    terms = {"bce": 40.0, "kl": 7.0, "adversarial": -1.5, "cycle": 30.0, "v2s": 2.0, "s2v": 3.0}
    assert losses.fem_loss(options.fem, 2.0, 3.0, 10.0) == expected + 0.5 * 10
    in_all = 40 + 7 + 8 * -1.5 + 0.1 * 30 + 0.25 * 8 * expected
    assert losses.generator_loss(options, **terms) == pytest.approx(in_all)
