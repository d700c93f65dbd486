"""What the tests of the RNN and of the LSTM share: ours beside torch's, outputs and gradients."""

import torch


def randn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def twins(ours_class, theirs_class, input_size, hidden_size, dtype=torch.float64):
    """Return ours and torch's layer, ours with torch's state dict of unlike, sizeable numbers."""
    ours, theirs = (c(input_size, hidden_size, dtype=dtype) for c in (ours_class, theirs_class))
    with torch.no_grad():
        for i, tensor in enumerate(theirs.state_dict().values()):
            tensor.copy_(0.6 * randn(*tensor.shape, seed=10 + i))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def flatten(value):
    """Return the tensors of nested tuples in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value for tensor in flatten(part)]


def results(layer, x, *states):
    """Return all outputs, and the gradients of a weighted sum of them by x, states, parameters."""
    leaves = [tensor.detach().requires_grad_() for tensor in (x, *states)]
    state = [leaves[1:]] if len(states) == 2 else leaves[1:]  # an LSTM's pair is one argument
    outputs = flatten(layer(leaves[0], *state))
    total = sum((randn(*o.shape, seed=50 + i) * o).sum() for i, o in enumerate(outputs))
    wanted = dict(enumerate(leaves)) | dict(layer.named_parameters())
    grads = torch.autograd.grad(total, list(wanted.values()))
    return [o.detach() for o in outputs], dict(zip(wanted, grads, strict=True))


def compare(ours, theirs, x, *states, tolerance=1e-10):
    """Assert equal outputs and gradients."""
    got, expected = results(ours, x, *states), results(theirs, x, *states)
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
