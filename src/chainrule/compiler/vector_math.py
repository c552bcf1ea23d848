"""stub"""


def function(name):
    def rule(e, *xs):
        if name in ("floor", "ceil", "trunc"):
            return e.intrinsic(name, *xs)
        if name == "round":
            return e.intrinsic("roundeven", *xs)
        if name == "sigmoid":
            return 1 / (1 + e.intrinsic("exp", -xs[0]))
        if name == "logaddexp":
            a, b = xs
            m = e.maximum(a, b)
            return m + e.intrinsic("log", e.intrinsic("exp", a - m) + e.intrinsic("exp", b - m))
        return e.intrinsic(name, *xs)

    return rule
