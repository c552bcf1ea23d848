"""Numbers as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

NAMES = {
    "f1": "F1", "mse": "MSE", "rmse": "RMSE", "mae": "MAE", "r2": "R²", "roc_auc": "ROC AUC",
}  # fmt: skip
SHARES = ("accuracy", "error_rate", "balanced_accuracy")  # metrics that are parts of a whole, told in percent


def number(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits, thousands apart.

    >>> number(1234567.8), number(0.123456), number(2.0), number(1.5e-9), number(float("nan"))
    ('1,234,568', '0.1235', '2', '1.5e-09', 'not a number')
    """
    value = float(value)
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 15 or size < -4:
        text = f"{value:.{digits - 1}e}"
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{exponent}"
    text = f"{value:,.{max(digits - 1 - size, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign.

    >>> signed(0.0123), signed(-2.0), signed(0.0)
    ('+0.0123', '-2', '0')
    """
    text = number(value, digits)
    return f"+{text}" if value > 0 else text


def percent(share: float) -> str:
    """Return a part of a whole in percent.

    >>> percent(0.9722), percent(1.0), percent(0.00012)
    ('97.2 %', '100 %', '0.012 %')
    """
    if not math.isfinite(share):
        return number(share)
    points = 100 * share
    if 0 < abs(points) < 0.1:
        return f"{number(points, 2)} %"
    if 99.9 < points < 100:
        return f"{math.floor(points * 100) / 100:.2f} %"  # never rounded up to 100
    return f"{points:.1f}".removesuffix(".0") + " %"


def points(share: float) -> str:
    """Return a part of a whole in percent with one decimal, for columns of them.

    >>> points(0.04), points(1.0)
    ('4.0 %', '100.0 %')
    """
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def minus(text: str) -> str:
    """Return text with the minus sign of typography before its numbers.

    >>> minus("-0.5, from -3 to x-ray")
    '−0.5, from −3 to x-ray'
    """
    return re.sub(r"(?<![\w.])-(?=[\d∞])|(?<=\de)-(?=\d)", "−", text)


def metric_name(metric: str) -> str:
    """Return the name of a metric as people write it.

    >>> metric_name("rmse"), metric_name("balanced_accuracy")
    ('RMSE', 'balanced accuracy')
    """
    return NAMES.get(metric, metric.replace("_", " "))


def score(metric: str, value: float) -> str:
    """Return a score as the metric is usually told: parts of a whole in percent.

    >>> score("accuracy", 0.5), score("rmse", 47730.4)
    ('50 %', '47,730')
    """
    return percent(value) if metric in SHARES else number(value)


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number of things.

    >>> counted(1, "row"), counted(1200, "row"), counted(2, "class", "classes")
    ('1 row', '1,200 rows', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names in a sentence, the first few of many.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(list("abcdefgh"), most=2)
    ('a', 'a, b and c', 'a, b and 6 more')
    """
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most:,} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
