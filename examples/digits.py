"""The LLC of a classifier of handwritten digits: a model that is no language model.

    germ llc examples/digits.py:digits                         from the command line
    python examples/digits.py                                  from Python

Both train the same small network on scikit-learn's digits, in seconds and always to the same
weights, and measure it.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import germ

HIDDEN = 32
NUM_STEPS = 600


def digits() -> tuple[nn.Module, tuple[Tensor, Tensor], str]:
    """Train the classifier.

    Returns:
        The model; images (1797, 64) in 0..1 and classes (1797,); the name of the loss.
    """
    images, classes = load_digits(return_X_y=True)
    data = torch.from_numpy(images / 16).float(), torch.from_numpy(classes).long()
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10))
    train(model, *data)
    return model, data, "cross_entropy"


def train(model: nn.Module, images: Tensor, classes: Tensor) -> None:
    """Minimize the loss on all images, with a learning rate that falls to zero."""
    # A little weight decay: without it the loss has no minimum, and there is no w* to stand at.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, NUM_STEPS)
    for _ in range(NUM_STEPS):
        loss = F.cross_entropy(model(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


if __name__ == "__main__":
    model, data, loss = digits()
    posterior = germ.LocalPosterior.from_model(model, data, loss=loss)
    print(germ.llc(germ.sample(posterior)))
