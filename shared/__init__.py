"""Helpers that several notebooks use: data, plotting, experiments, checks, profiles, results."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {  # the prefix of a metric's id, and the folder of its notebook
    "a1": "assignment1_perceptron_mlp",
    "a2": "assignment2_pytorch_cnn_rnn",
    "a3": "assignment3_lstm_gan",
    "cw": "cw_vae_dcgan",
}
