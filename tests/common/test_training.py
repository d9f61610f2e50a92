"""Training stops where it diverges, and a killed one goes on to the very same end."""

import pytest
import torch

from pipeline.common import training
from pipeline.common.errors import UserError


class Walk(torch.nn.Module):
    """A model and trainer in one: a random walk."""

    epochs = 6

    def __init__(self, diverges_at=None):
        super().__init__()
        self.register_buffer("place", torch.zeros(3))
        self.generator = torch.Generator().manual_seed(1)
        self.count = 0
        self.diverges_at = diverges_at

    def epoch(self):
        self.count += 1
        self.place += torch.randn(3, generator=self.generator)
        return {"loss": float("nan") if self.count == self.diverges_at else float(self.place.sum())}


class Trainer:
    def __init__(self, walk):
        self.walk = walk
        self.epoch = walk.epoch

    def state_dict(self):
        return {"generator": self.walk.generator.get_state(), "count": self.walk.count}

    def load_state_dict(self, state):
        self.walk.generator.set_state(state["generator"])
        self.walk.count = state["count"]


def test_a_killed_training_ends_where_an_unbroken_one_does(tmp_path):
    unbroken = Walk()
    history = list(training.epochs(unbroken, Trainer(unbroken), 6, "walk"))
    killed, carry = Walk(), {"seen": []}
    checkpoint = training.Checkpoint(tmp_path / "walk.pt", ["key"], minutes=1e-9)
    for epoch, _ in training.epochs(killed, Trainer(killed), 6, "walk", checkpoint, carry):
        carry["seen"].append(epoch)
        if epoch == 4:
            break
    assert checkpoint.path.exists()
    resumed, carry = Walk(), {"seen": []}
    checkpoint = training.Checkpoint(tmp_path / "walk.pt", ["key"], minutes=1)
    rest = []
    for epoch, terms in training.epochs(resumed, Trainer(resumed), 6, "walk", checkpoint, carry):
        rest.append((epoch, terms))
        carry["seen"].append(epoch)
    # killed within epoch 4, so epoch 4 is run again
    assert rest == history[3:]
    assert carry["seen"] == [1, 2, 3, 4, 5, 6]
    assert torch.equal(resumed.place, unbroken.place)
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_training_or_a_broken_one_is_not_used(tmp_path, capsys):
    training.Checkpoint(tmp_path / "a.pt", ["lr 1"], 1).save({"epoch": 3})
    assert training.Checkpoint(tmp_path / "a.pt", ["lr 1"], 1).load()["epoch"] == 3
    assert training.Checkpoint(tmp_path / "a.pt", ["lr 2"], 1).load() is None
    (tmp_path / "a.pt").write_bytes(b"no checkpoint")
    assert training.Checkpoint(tmp_path / "a.pt", ["lr 1"], 1).load() is None
    assert "training starts over" in capsys.readouterr().out


def test_divergence_names_the_epoch_the_term_and_the_value():
    walk = Walk(diverges_at=3)
    with pytest.raises(UserError, match="walk: diverged in epoch 3: loss is nan"):
        list(training.epochs(walk, Trainer(walk), 6, "walk"))


def _stepped(amsgrad=False):
    weight = torch.nn.Parameter(torch.ones(2, 3))
    adam = torch.optim.Adam([weight], lr=0.1, amsgrad=amsgrad, fused=True)
    weight.grad = torch.ones(2, 3)
    adam.step()
    return adam


def test_an_optimiser_is_restored_with_the_lr_a_schedule_gave_it():
    kept = _stepped()
    kept.param_groups[0]["lr"] = 0.05
    taken = _stepped()
    training.restore(taken, kept.state_dict())
    assert taken.param_groups[0]["lr"] == 0.05
    assert str(taken.state_dict()) == str(kept.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["state"][0].pop("exp_avg"),
        lambda state: state["state"][0].update(exp_avg_sq=torch.ones(3)),
        lambda state: state["state"][0].update(exp_avg=None),
        lambda state: state["state"][0].update(max_exp_avg_sq=torch.ones(2, 3)),
        lambda state: state["state"].update({1: state["state"][0]}),
        lambda state: state["param_groups"][0].update(betas=[0.9]),
        lambda state: state["param_groups"][0].update(lr="x"),
        lambda state: state["param_groups"][0].update(lr=float("nan")),
        lambda state: state["param_groups"].clear(),
        lambda state: state.update(state=[]),
    ],
)
def test_moments_of_another_optimiser_do_not_fit(tmp_path, change):
    state = _stepped().state_dict()
    change(state)
    checkpoint = training.Checkpoint(tmp_path / "walk.pt", ["key"], 1)
    with pytest.raises(UserError, match=r"walk\.pt: does not fit this training .*remove it"), checkpoint.going_on():
        training.restore(_stepped(), state)
