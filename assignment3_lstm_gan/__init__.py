"""Assignment 3: LSTM, Transformer and GAN."""
