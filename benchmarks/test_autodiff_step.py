"""One training step 784-300-10, batch 128, float32: autodiff beside the hand-written NumPy MLP and
torch eager, in alternating rounds of one run. The goals hold on one idle core and one thread:

OMP_NUM_THREADS=1 pytest benchmarks/test_autodiff_step.py \
    --benchmark-columns=median,iqr,rounds --benchmark-sort=name
"""

import time

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp.autodiff import Tensor, add_operation, cross_entropy
from assignment1_perceptron_mlp.numpy_mlp import MLP
from assignment1_perceptron_mlp.numpy_optim import SGD
from assignment1_perceptron_mlp.numpy_training import train_step

LAYER_SIZES, BATCH_SIZE, LEARNING_RATE = (784, 300, 10), 128, 0.1
RATIO_TO_NUMPY, RATIO_TO_TORCH = 1.15, 1.0  # as in reports/targets.toml


def affine_forward(x, W, b):
    """Return x W + b with one new array."""
    y = x @ W
    y += b
    return y


affine = add_operation(  # fused, as in notebook 04
    "affine",
    affine_forward,
    lambda g, y, x, W, b: g @ W.T,  # (N, M)(M, D)
    lambda g, y, x, W, b: x.T @ g,  # (D, N)(N, M)
    lambda g, y, x, W, b: g,  # (N, M), summed over N by unbroadcast
)


def make_steps():
    """Return {name: function that makes one training step}, all from the same weights."""
    rng = np.random.default_rng(0)
    x = rng.random((BATCH_SIZE, LAYER_SIZES[0]), dtype=np.float32)
    labels = rng.integers(0, LAYER_SIZES[-1], BATCH_SIZE)
    by_hand = MLP(LAYER_SIZES, rng=rng)
    weights = {name: array.copy() for name, array in by_hand.parameters().items()}

    params = {name: Tensor(array.copy(), requires_grad=True) for name, array in weights.items()}
    ours_sgd = SGD({name: p.data for name, p in params.items()}, LEARNING_RATE)
    hand_sgd = SGD(by_hand.parameters(), LEARNING_RATE)

    def autodiff_step():
        hidden = affine(Tensor(x), params["W1"], params["b1"]).relu()
        loss = cross_entropy(affine(hidden, params["W2"], params["b2"]), labels)
        for p in params.values():
            p.zero_grad()
        loss.backward()
        ours_sgd.step({name: p.grad for name, p in params.items()})
        return loss.item()

    linear = [torch.nn.Linear(784, 300), torch.nn.Linear(300, 10)]
    model = torch.nn.Sequential(linear[0], torch.nn.ReLU(), linear[1])
    with torch.no_grad():
        for i, layer in enumerate(linear, start=1):
            layer.weight.copy_(torch.tensor(weights[f"W{i}"].T))
            layer.bias.copy_(torch.tensor(weights[f"b{i}"]))
    torch_sgd = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    x_torch, labels_torch = torch.tensor(x), torch.tensor(labels)

    def torch_step():
        torch_sgd.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x_torch), labels_torch)
        loss.backward()
        torch_sgd.step()
        return loss.item()

    return {
        "autodiff": autodiff_step,
        "by hand": lambda: train_step(by_hand, hand_sgd, x, labels),
        "torch": torch_step,
    }


@pytest.mark.parametrize("name", ["autodiff", "by hand", "torch"])
def test_step(benchmark, name):
    benchmark.group = "one training step, 784-300-10, batch 128"
    benchmark.pedantic(make_steps()[name], rounds=200, warmup_rounds=20)


def test_the_three_make_the_same_step_and_keep_the_ratios():
    steps = make_steps()
    losses = {name: [step() for _ in range(5)] for name, step in steps.items()}
    for name in losses:
        np.testing.assert_allclose(losses[name], losses["by hand"], rtol=1e-4)

    shortest = {name: [] for name in steps}
    for repeat in range(21):  # blocks, since threads of one library slow the other down for a while
        for name in np.roll(list(steps), repeat):
            seconds = []
            for _ in range(14):
                started = time.perf_counter()
                steps[name]()
                seconds.append(time.perf_counter() - started)
            shortest[name].append(min(seconds[4:]))
    times = {name: np.array(values) for name, values in shortest.items()}
    to_numpy = np.median(times["autodiff"] / times["by hand"])
    to_torch = np.median(times["autodiff"] / times["torch"])
    print(f"autodiff / by hand {to_numpy:.2f}, autodiff / torch {to_torch:.2f}")
    assert to_numpy <= RATIO_TO_NUMPY
    assert to_torch <= RATIO_TO_TORCH
