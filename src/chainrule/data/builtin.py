"""Data sets that need no files."""

from __future__ import annotations

import numpy as np

from chainrule.data.images import LabelledImages
from chainrule.errors import DataError, nearest
from chainrule.forks import undisturbed

BUILTINS = {"digits": "scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, values 0 to 16"}
"""The names of the data sets that are built in, with what they are."""


def load_builtin(name: str) -> LabelledImages:
    """Return the data set of this name.

    Raises:
        DataError: there is none of this name (with the nearest names), or scikit-learn is not installed.
    """
    if name not in BUILTINS:
        fix = nearest(name, BUILTINS) or f"for a file or folder of this name, write ./{name}"
        raise DataError(f"no built-in data set {name!r}", expected=", ".join(BUILTINS), fix=fix)
    try:
        with undisturbed():
            from sklearn.datasets import load_digits  # 140 MB with SciPy: an extra, loaded when asked for
    except ImportError:
        fix = 'install it: pip install "chainrule[command]"'
        raise DataError("the built-in digits come with scikit-learn, which is not installed", fix=fix) from None
    digits = load_digits()
    images = np.asarray(digits.images).astype(np.uint8)
    return LabelledImages(images, np.asarray(digits.target).astype(np.int64), "digits", largest=16)
