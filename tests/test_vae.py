"""VAE: formulas against torch.distributions, Monte Carlo, finite differences, known answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.nn import functional as F

from cw_vae_dcgan import vae
from cw_vae_dcgan.vae_networks import conv_vae, he_start, mean_start, mlp_vae
from shared.checks import numerical_gradient


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def close(a, b, **bounds):
    torch.testing.assert_close(a, b, **({"rtol": 1e-9, "atol": 1e-9} | bounds))


SHAPES = [(1, 1), (4, 3), (7, 20), (2, 5, 3)]


# the formulas


@pytest.mark.parametrize("shape", SHAPES)
def test_kl_is_that_of_torch(shape):
    mu, log_var, mu_0, log_var_0 = (normal(*shape, seed=seed) for seed in range(4))
    q, p = Normal(mu, (log_var / 2).exp()), Normal(mu_0, (log_var_0 / 2).exp())
    close(vae.kl_normal(mu, log_var, mu_0, log_var_0), kl_divergence(q, p))
    standard = Normal(torch.zeros(shape, dtype=mu.dtype), 1.0)
    close(vae.kl_normal(mu, log_var), kl_divergence(q, standard))


def test_kl_is_zero_between_equals_and_positive_elsewhere():
    mu, log_var = normal(50, 4), normal(50, 4, seed=1)
    close(vae.kl_normal(mu, log_var, mu, log_var), torch.zeros(50, 4, dtype=mu.dtype))
    assert (vae.kl_normal(mu, log_var) > 0).all()


def test_kl_is_the_mean_of_log_ratios():
    mu, log_var = normal(1, 3), normal(1, 3, seed=1)
    z = vae.reparameterise(mu, log_var, normal(400_000, 1, 3, seed=2))
    ratios = vae.log_normal(z, mu, log_var) - vae.log_normal(z)
    error = (ratios.mean() - vae.kl_normal(mu, log_var).sum()).abs()
    assert error < 4 * ratios.std() / math.sqrt(len(z))


@pytest.mark.parametrize("shape", SHAPES)
def test_log_normal_is_that_of_torch(shape):
    z, mu, log_var = (normal(*shape, seed=seed) for seed in range(3))
    close(vae.log_normal(z, mu, log_var), Normal(mu, (log_var / 2).exp()).log_prob(z).sum(-1))
    close(vae.log_normal(z), Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(-1))


def test_draws_have_the_mean_and_the_spread_they_should():
    mu, log_var = torch.tensor([[3.0, -1.0]]), torch.tensor([[math.log(4.0), math.log(0.01)]])
    z = vae.reparameterise(mu, log_var, normal(200_000, 1, 2, dtype=torch.float32))[:, 0]
    close(z.mean(0), mu[0], rtol=0, atol=0.02)
    close(z.std(0), torch.tensor([2.0, 0.1]), rtol=0.01, atol=0)
    close(vae.reparameterise(mu, log_var, torch.zeros(1, 2)), mu)


@pytest.mark.parametrize("shape", [(1, 1, 2, 3), (3, 1, 4, 4), (2, 3, 5, 1), (2, 4, 1, 3, 3)])
def test_nats_are_those_of_torch(shape):
    logits = 3 * normal(*shape, dtype=torch.float32)
    x = torch.rand(shape, generator=seeded(1))
    wanted = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((-3, -2, -1))
    close(vae.bernoulli_nats(logits, x), wanted, rtol=1e-5, atol=1e-5)
    binary = (x > 0.5).float()
    wanted = -Independent(Bernoulli(logits=logits), 3).log_prob(binary)
    close(vae.bernoulli_nats(logits, binary), wanted, rtol=1e-5, atol=1e-5)


def test_nats_survive_large_logits():
    logits = torch.tensor([1e4, -1e4, 300.0]).view(1, 1, 1, 3)
    close(vae.bernoulli_nats(logits, torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 1, 3)), 300 + ZEROS)
    assert vae.bernoulli_nats(logits.bfloat16(), (logits > 0).float()).dtype == torch.float32


ZEROS = torch.zeros(1)


def test_grey_floor_is_what_the_best_logits_reach():
    x = torch.rand(3, 1, 4, 4, generator=seeded()) * 0.98 + 0.01
    close(vae.grey_floor(x), vae.bernoulli_nats(torch.logit(x), x), rtol=1e-5, atol=1e-5)
    close(vae.grey_floor((x > 0.5).float()), torch.zeros(3))
    assert (vae.bernoulli_nats(torch.logit(x) + 0.1, x) > vae.grey_floor(x)).all()


# the networks

NETWORKS = {
    "one layer": lambda: mlp_vae((5,), 3, torch.nn.ReLU),
    "two layers": lambda: mlp_vae((6, 5), 2),
    "one unit": lambda: mlp_vae((4,), 1, torch.nn.Tanh),
    "convolutions": lambda: conv_vae((2, 3), 7, 4),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("N", [1, 4])
def test_shapes_and_both_modes(name, N):
    torch.manual_seed(0)
    model, x = NETWORKS[name](), torch.rand(N, 1, 28, 28)
    mu, log_var = model.encode(x)
    assert mu.shape == log_var.shape == (N, model.num_latents)
    assert model.decode(mu).shape == x.shape
    noise = torch.randn(mu.shape)
    reconstruction, kl = vae.elbo_terms(model, x, noise)
    assert reconstruction.shape == (N,) and kl.shape == mu.shape
    z = mu + (log_var / 2).exp() * noise
    close(reconstruction, vae.bernoulli_nats(model.decode(z), x), rtol=1e-6, atol=1e-4)
    close(kl, vae.kl_normal(mu, log_var))
    transposed = x.transpose(2, 3).contiguous().transpose(2, 3)  # the same, not contiguous
    close(model.encode(transposed)[0], mu, rtol=1e-5, atol=1e-6)


def test_the_layers_are_those_of_the_well_known_example():
    model = mlp_vae((400,), 20, torch.nn.ReLU)
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert shapes == [(400, 784), (40, 400), (400, 20), (784, 400)]
    hidden = [p.shape[0] for p in mlp_vae((9, 8, 7), 2).parameters() if p.ndim == 2]
    assert hidden == [9, 8, 7, 4, 7, 8, 9, 784]
    assert not isinstance(model.encoder[-1], torch.nn.ReLU)  # mu may be negative


def test_other_images_than_digits():
    model = mlp_vae((4,), 2, shape=(3, 5, 7))
    x = torch.rand(2, 3, 5, 7)
    assert model.decode(model.encode(x)[0]).shape == x.shape


def test_the_encoder_may_be_shown_something_else():
    torch.manual_seed(0)
    model, x, other = mlp_vae((5,), 3), *torch.rand(2, 4, 1, 28, 28)
    reconstruction, kl = vae.elbo_terms(model, x, torch.zeros(4, 3), shown=other)
    mu, log_var = model.encode(other)
    close(kl, vae.kl_normal(mu, log_var))
    close(reconstruction, vae.bernoulli_nats(model.decode(mu), x), rtol=1e-6, atol=1e-4)


def growth(layer, x):
    """How many times larger the squares of a layer's answers are, margins of a picture aside."""
    answer = layer(x)
    inner = answer[..., 4:-4, 4:-4] if answer.ndim == 4 and answer.shape[-1] > 9 else answer
    return answer, (inner.square().mean() / x.square().mean()).item()


@pytest.mark.parametrize("network", ["deep", "convolutions"])
def test_he_start_keeps_the_size_of_answers(network):
    torch.manual_seed(0)
    build = {"deep": lambda: mlp_vae((300,) * 6), "convolutions": lambda: conv_vae((64, 64), 300)}
    model = build[network]()
    he_start(model)
    for part, answer in (
        (model.decoder, torch.randn(200, 20)), (model.encoder, torch.randn(200, 1, 28, 28)),
    ):  # fmt: skip
        layers = [layer for layer in part if hasattr(layer, "weight")]
        for layer in part:
            if layer not in layers:
                answer = layer(answer)
                continue
            answer, ratio = growth(layer, answer)
            wanted = 1 if layer is layers[-1] else 2
            assert 0.6 * wanted < ratio < 1.6 * wanted, (layer, ratio)
            assert not layer.bias.any()


def test_the_decoder_may_begin_with_the_mean_image():
    images = torch.rand(3, 1, 28, 28, generator=seeded()) * 0.8 + 0.1
    model = mlp_vae((5,), 3)
    model.decoder[-2].weight.data.zero_()
    mean_start(model, images)
    painted = model.decode(torch.randn(2, 3)).sigmoid()
    close(painted, images.mean(dim=0, keepdim=True).expand(2, -1, -1, -1), rtol=0, atol=1e-6)
    model = conv_vae((2, 3), 7, 4)  # one bias for all pixels
    mean_start(model, images)
    close(model.decoder[-1].bias.sigmoid(), images.mean().view(1), rtol=0, atol=1e-6)
    mean_start(model, torch.zeros(1, 1, 28, 28))
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["one layer", "convolutions"])
def test_gradients_are_those_of_finite_differences(name):
    """With the noise held fixed the loss is an ordinary function of mu and log_var."""
    torch.manual_seed(1)
    model, x = NETWORKS[name]().double(), torch.rand(2, 1, 28, 28, dtype=torch.float64)
    heads = normal(2, 2 * (3 if name == "one layer" else 4)).numpy()  # mu beside log_var
    noise = normal(2, heads.shape[1] // 2, seed=3)

    def loss(values):
        mu, log_var = torch.as_tensor(values).chunk(2, dim=1)
        logits = model.decode(vae.reparameterise(mu, log_var, noise))
        nats = (F.softplus(logits) - x * logits).sum()  # in float64
        return nats + vae.kl_normal(mu, log_var).sum()

    leaf = torch.tensor(heads, requires_grad=True)
    loss(leaf).backward()
    numeric = numerical_gradient(lambda values: loss(values).item(), heads.copy())
    close(leaf.grad, torch.as_tensor(numeric), rtol=1e-5, atol=1e-6)


def test_training_lowers_the_loss_and_brings_gradients_everywhere():
    torch.manual_seed(0)
    model, x = mlp_vae((32,), 4), torch.rand(16, 1, 28, 28, generator=seeded()).round()
    optimizer, losses = torch.optim.Adam(model.parameters(), 1e-2), []
    for _ in range(40):
        reconstruction, kl = vae.elbo_terms(model, x, torch.randn(16, 4))
        loss = (reconstruction + kl.sum(dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.abs().sum() > 0 for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


# what is measured


def test_evaluation_adds_up_and_leaves_the_model_alone():
    torch.manual_seed(0)
    model, x = conv_vae((2, 3), 7, 4), torch.rand(10, 1, 28, 28)
    found = vae.evaluate_vae(model.train(), x, batch_size=3)
    assert model.training
    vae.importance_nats(model, x, 2)
    assert model.training
    vae.evaluate_vae(model.eval(), x)
    assert not model.training
    mu, log_var = model.encode(x)
    unit_kl = vae.kl_normal(mu, log_var).mean(dim=0)
    close(torch.as_tensor(found["unit_kl"]), unit_kl.detach(), rtol=1e-4, atol=1e-6)
    assert found["kl"] == pytest.approx(unit_kl.sum().item(), rel=1e-4)
    assert found["negative_elbo"] == found["reconstruction"] + found["kl"]
    close(torch.as_tensor(found["mu"]), mu.detach(), rtol=1e-4, atol=1e-5)
    again = vae.evaluate_vae(model, x, batch_size=3)
    assert again["reconstruction"] == found["reconstruction"]
    other = vae.evaluate_vae(model, x, seed=1, batch_size=3)
    assert other["reconstruction"] != found["reconstruction"] and other["kl"] == again["kl"]


def test_evaluation_switches_dropout_off():
    model, x = mlp_vae((8,), 2), torch.rand(4, 1, 28, 28)
    model.encoder.append(torch.nn.Dropout(0.5))
    first = vae.evaluate_vae(model.train(), x)
    assert first["kl"] == vae.evaluate_vae(model, x)["kl"] and model.training


def test_a_unit_is_active_where_its_mean_varies():
    mu = torch.stack([torch.arange(10.0), torch.full((10,), 7.0), 1e-3 * torch.arange(10.0)], 1)
    assert vae.active_units(mu).tolist() == [True, False, False]
    assert vae.active_units(mu.numpy(), threshold=1e-6).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("step", "warmup", "beta"),
    [(0, 0, 2.0), (0, 10, 0.0), (5, 10, 1.0), (10, 10, 2.0), (99, 10, 2)],
)
def test_warmup_is_a_straight_line(step, warmup, beta):
    assert vae.beta_at(step, 2.0, warmup) == beta


# importance weighting, on a case whose likelihood is known


def linear_gaussian(N=5, Z=3, D=4, spread=1.0):
    """x = W z + b + noise. Returns x, log p(x, z), log p(x), and mu, log_var of a wrong q."""
    W, b, log_noise = normal(D, Z), normal(D, seed=1), torch.tensor(-0.7, dtype=torch.float64)
    x = normal(N, D, seed=2) @ torch.diag(torch.arange(1.0, D + 1, dtype=torch.float64))

    def log_joint(z):
        return vae.log_normal(z) + vae.log_normal(x, z @ W.T + b, log_noise)

    covariance = W @ W.T + log_noise.exp() * torch.eye(D, dtype=torch.float64)
    evidence = torch.distributions.MultivariateNormal(b, covariance).log_prob(x)
    precision = torch.eye(Z, dtype=torch.float64) + W.T @ W / log_noise.exp()
    mean = (x - b) @ W @ torch.linalg.inv(precision).T / log_noise.exp()
    return x, log_joint, evidence, mean, precision


def test_the_bound_is_exact_where_q_is_the_posterior():
    _, log_joint, evidence, mean, precision = linear_gaussian(Z=1)
    log_var = -precision.log().expand(mean.shape)
    for k in (1, 2, 30):
        close(vae.importance_bound(log_joint, mean, log_var, k, seeded()), evidence)


def test_the_bound_rises_to_the_likelihood_and_not_beyond():
    _, log_joint, evidence, mean, _ = linear_gaussian(N=400)
    log_var = torch.full_like(mean, -0.5)  # broader than the posterior, and without its slant
    gaps = []
    for k in (1, 8, 64, 2_000):
        bound = vae.importance_bound(log_joint, mean, log_var, k, seeded(k))
        gaps.append((evidence - bound).mean().item())
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > -0.02 and gaps[3] < 0.05


def test_one_draw_is_the_elbo():
    _, log_joint, _, mean, _ = linear_gaussian(N=1)
    log_var = torch.full_like(mean, -1.0)
    many, logs = mean.expand(200_000, -1), torch.full((200_000, 3), -1.0, dtype=torch.float64)
    bound = vae.importance_bound(log_joint, many, logs, 1, seeded())
    noise = normal(200_000, 1, 3, seed=9)
    z = vae.reparameterise(mean, log_var, noise)
    elbo = (log_joint(z) - vae.log_normal(z)).mean() - vae.kl_normal(mean, log_var).sum()
    assert abs(bound.mean() - elbo) < 5 * bound.std() / math.sqrt(200_000)


def test_the_bound_is_stable_where_the_likelihood_underflows():
    mu = torch.zeros(2, 1)
    bound = vae.importance_bound(lambda z: vae.log_normal(z) - 1e5, mu, mu, 64, seeded())
    close(bound, torch.full((2,), -1e5), rtol=1e-5, atol=0.1)


def test_the_bound_of_a_model_is_that_of_its_parts():
    torch.manual_seed(0)
    model, x = mlp_vae((16,), 2), torch.rand(7, 1, 28, 28)
    one = vae.importance_nats(model, x, 1, batch_size=7)
    elbo = vae.evaluate_vae(model, x)["negative_elbo"]
    assert one == pytest.approx(elbo, abs=3)  # one draw of z each
    many = vae.importance_nats(model, x, 500, batch_size=3)
    assert many < one + 0.5
    z = torch.randn(4_000, 2, generator=seeded())  # from the prior
    with torch.no_grad():
        logits = model.decode(z)
        nats = torch.stack([vae.bernoulli_nats(logits, image) for image in x])  # (7, 4000)
    honest = -(torch.logsumexp(-nats, dim=1) - math.log(4_000)).mean().item()
    assert many == pytest.approx(honest, abs=0.5)


def test_grey_digits_bound_binary_ones():
    """The loss of a grey image is the mean loss of binary ones drawn with its values."""
    torch.manual_seed(0)
    logits, x = torch.randn(1, 1, 6, 6), torch.rand(1, 1, 6, 6)
    binary = torch.bernoulli(x.expand(40_000, 1, 6, 6), generator=seeded())
    nats = vae.bernoulli_nats(logits, binary)
    assert abs(nats.mean() - vae.bernoulli_nats(logits, x)) < 4 * nats.std() / 200


# what is refused, in one sentence


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: vae.check_images(torch.full((1, 1, 2, 2), 1.5)), "x goes from 1.5 to 1.5"),
        (lambda: vae.check_images(torch.full((1, 1, 2, 2), -1.0)), "a Bernoulli needs values"),
        (lambda: vae.check_images(torch.full((1, 1, 2, 2), math.nan)), "x goes from nan"),
        (lambda: vae.check_images(torch.zeros(0, 1, 2, 2)), "none of them 0"),
        (lambda: vae.check_images(torch.zeros(2, 2)), "float tensor"),
        (lambda: vae.check_images(torch.zeros(1, 1, 2, 2).byte()), "uint8"),
        (lambda: vae.check_images([[0.5]]), "x is list"),
        (lambda: vae.evaluate_vae(mlp_vae((3,), 1), 2 + torch.zeros(1, 1, 28, 28)), "x goes"),
        (lambda: vae.importance_nats(None, -torch.ones(1, 1, 28, 28), 5), "x goes from -1"),
        (lambda: mlp_vae((8,), 0), "num_latents is 0"),
        (lambda: conv_vae(num_latents=0), "num_latents is 0"),
        (lambda: mlp_vae((8,), 2.0), "num_latents is 2.0"),
        (lambda: mlp_vae((), 2), "hidden is empty"),
        (lambda: mlp_vae((8, 0), 2), "a width is 0"),
        (lambda: conv_vae((0, 3)), "a width is 0"),
        (lambda: vae.beta_at(0, -0.5), "beta is -0.5"),
        (lambda: vae.beta_at(0, math.nan), "beta is nan"),
        (lambda: vae.beta_at(3, 1.0, -1), "warmup_steps is -1"),
        (lambda: vae.importance_bound(None, ZEROS, ZEROS, 0, None), "k is 0"),
        (lambda: vae.importance_bound(None, ZEROS, ZEROS, 2.5, None), "k is 2.5"),
        (lambda: vae.importance_bound(None, ZEROS, ZEROS, True, None), "k is True"),
    ],
)
def test_bad_input_is_one_clear_sentence(call, words):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        call()
    assert words in str(caught.value)
