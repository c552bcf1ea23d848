"""A module in LLVM's language: functions, the declarations they need, and loads and stores of some lanes of a vector."""

from __future__ import annotations


class Module:
    """Functions and the declarations they need.

    ``masks``   the machine loads and stores some lanes of a vector by itself
    ``lookup``  which instructions it has to look up tables in registers: see lookup.py
    """

    def __init__(self, masks: bool = True, lookup: str = "") -> None:
        self.masks = masks
        self.lookup = lookup
        self.functions: dict[str, str] = {}
        self.declarations: dict[str, str] = {}
        self.globals: dict[str, str] = {}

    def declare(self, name: str, line: str) -> None:
        """Note a function of LLVM's own, or of another module, that is called."""
        self.declarations[name] = line

    def masked(self, name: str, result: str, *operands: tuple[str, str]) -> str:
        """Return the text that calls one of LLVM's loads and stores of some lanes; operands are types and values.

        Where the machine has none LLVM writes a branch for each lane: they stand once, in a function that is called.
        """
        kinds = [kind for kind, _ in operands]
        self.declare(name, f"declare {result} @{name}({', '.join(kind.partition(' align ')[0] for kind in kinds)})")
        if self.masks or any(kind.endswith("x i1>") and value[0] != "%" for kind, value in operands):
            return f"call {result} @{name}({', '.join(f'{kind} {value}' for kind, value in operands)})"
        given = [(kind, f"%x{k}", value) for k, (kind, value) in enumerate(operands) if value != "zeroinitializer"]
        own = name.removeprefix("llvm.")
        if own not in self.functions:
            inner = [
                (kind, value if value == "zeroinitializer" else f"%x{k}") for k, (kind, value) in enumerate(operands)
            ]
            call = f"call {result} @{name}({', '.join(f'{kind} {value}' for kind, value in inner)})"
            body = f"  {call}\n  ret void" if result == "void" else f"  %y = {call}\n  ret {result} %y"
            parameters = ", ".join(f"{kind} {place}" for kind, place, _ in given)
            self.functions[own] = f"define internal {result} @{own}({parameters}) #0 {{\n{body}\n}}"
        return f"call {result} @{own}({', '.join(f'{kind} {value}' for kind, _, value in given)})"

    def text(self, attributes: str) -> str:
        """Return the module's text; ``attributes`` are those of every function (``#0``)."""
        parts = [*self.declarations.values(), *self.globals.values(), *self.functions.values()]
        return "\n".join(parts) + f"\nattributes #0 = {{ {attributes} }}\n"
