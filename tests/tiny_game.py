"""A game of generator and judge for the tests of the GAN and of the DCGAN."""

import torch

from assignment3_lstm_gan.gan import discriminator_loss, generator_loss


def play(generator, discriminator, real, latent, num_steps):
    """Make num_steps steps of each player, in turn. real: (N, C, H, W), the same in each step."""
    steps = [
        torch.optim.Adam(net.parameters(), 5e-3, betas=(0.5, 0.999))
        for net in (generator, discriminator)
    ]
    for _ in range(num_steps):
        fake = generator(torch.randn(len(real), latent))
        loss = discriminator_loss(discriminator(real), discriminator(fake.detach()))
        steps[1].zero_grad()
        loss.backward()
        steps[1].step()
        loss = generator_loss(discriminator(fake))
        steps[0].zero_grad()
        loss.backward()
        steps[0].step()
