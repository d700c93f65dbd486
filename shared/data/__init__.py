"""The data sets of the notebooks: real files, or small stand-ins that need none.

To add a data set: describe it in a module of its own, as mnist.py does, list it in catalogue.py,
and give it a loader in loaders.py.
"""

from shared.data.catalogue import available_sources, describe_sources, find_source
from shared.data.description import DataError, DataSet
from shared.data.generated import palindromes, two_gaussians
from shared.data.loaders import (
    LabelledData,
    TextData,
    load_cifar10,
    load_imdb,
    load_mnist,
    load_text,
)

__all__ = [
    "DataError",
    "DataSet",
    "LabelledData",
    "TextData",
    "available_sources",
    "describe_sources",
    "find_source",
    "load_cifar10",
    "load_imdb",
    "load_mnist",
    "load_text",
    "palindromes",
    "two_gaussians",
]
