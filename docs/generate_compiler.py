"""Write docs/compiler.md: one training step followed from the user's code down to the machine's, with real output.

python docs/generate_compiler.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path

os.environ["CHAINRULE_COMPILE"] = "1"

import chainrule as cr
from chainrule import nn

CODE = """model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = cr.optim.SGD(model.parameters(), lr=0.1)


@cr.compile
def step(x, y):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss
"""

PAGE = """# The compiler, from a network to machine code

Written by `python docs/generate_compiler.py`: everything below is what this program printed. Numbers in the machine code are those
of the machine it ran on (x86-64 with {vector}).

```python
{code}```

The first call traces the function; what it recorded becomes native code, about a tenth of a second later, or at once if the code
is on disk already. Why it is built so: [decision 6](decisions/0006-native-code.md).

## 1. The graph

What the function computes, forward, backward and update, is one graph (`print(step.show())`):

```text
{graph}
```

## 2. Fields and regions

Each primitive has a rule `lower` that says what its result is, element by element. Elementwise primitives write one instruction
(`def lower(self, e, a, b): return a * b`), others build loops (`e.fold("add", x, axes)`). Then the compiler decides which
values one kernel computes together, and which are so cheap that each reader computes them again. `print(step.loops)`:

```text
{loops}
```

A product takes with it what follows element by element: bias and activation on the way forward, the mask of the ReLU on the way
back, and the whole update of a weight where its gradient is made. The gradient of a weight is never in memory. What stands in
‹ › is an input; `→ over` means written over it, in the memory of the parameter itself. Nor is the gradient of a large table of
embeddings, most of which is zeros: the rows that a batch met are added up among themselves, and a list says for each row of the
table where its gradient stands, if it has one.

## 3. Kernels

Each region becomes a function of sizes, strides and addresses, in LLVM's language, vectorised as it is written: 16 lanes, whatever
the registers. This is the kernel that adds up the losses of a
batch:

```llvm
{llvm}
```

Sums are taken in an order that follows from the sizes alone: here in 16 lanes, vector after
vector in four chains, chunk after chunk of 4096 in eight, and
at the end halves with halves. So the result has the same bits with any number of threads and on every machine.

## 4. Machine code

LLVM cuts vectors to registers and assigns them (`print(step.assembly)`). The innermost loop of a product, a row of A times a panel
of B, added to sums that stay in registers:

```asm
{assembly}
```

## 5. Running it

A step is a table of records: kernel, arguments, number of items. A native loop goes through it; `step.over(X, y, batch_size=32)`,
`step.repeat(x, y, times=1000)`, `cr.fit` and `chainrule train` go through it for many batches in one call, gathering each batch's
rows from the data where they lie. Several threads share the items of each record, with a barrier after it; a trial of a few
milliseconds decides whether they pay, unless `cr.set_num_threads(2)` or `CHAINRULE_THREADS` names their number;
`cr.set_num_threads(None)` takes it back.

Data of which much is 0 (the background of images, words that a text has not, columns of categories) cost less: once such steps have
taken half a second, another program is compiled whose products with the data leave out the terms in which all data of a tile
are 0, or what dropout leaves of them. A kernel lists the others for each batch, from marks that the gather leaves. Bits stay as
they are, for such a term adds 0; unless the other factor is not finite, which is looked at in every step: then all terms are
added. (One thing alone may differ, the sign of a 0 that a denormal sum became.) `step.report()` says which part of the terms is
left; `profile()`, `loops`, `llvm` and `assembly` show the first program.

`print(step.report())` says what was made. `print(step.profile())` also runs each record by itself, many times, on copies of what the
last run had in memory, and shows what it costs:

```text
{profile}
```

Operations and bytes are counted from what the kernel is made of: a product of m × n with k terms is 2 m n k operations, each
operation of a loop is one (exp and its like 8), what follows a product is not counted, and a buffer counts once. The floor is the
time that one thread of this machine takes at least: for the operations at the rate of multiply-adds that stay in registers, for
the bytes at that of copying 1 MB, whichever is longer. A kernel whose memory is in the nearest cache may be faster than that.

`chainrule show RUN` prints the same of the training step of a run: `--stage graph`, `loops`, `llvm`, `assembly`, or `kernels` for the
table above.

## What to know

- `CHAINRULE_COMPILE=0` runs everything on the interpreter (NumPy), with results within rounding of the native ones. So does a
  machine for which no code is made, or a primitive of one's own without `lower`: `step.report()` says why.
- Denormal numbers are zero in native code; NaN and infinities are as in NumPy. Results may differ from the interpreter's by
  rounding: sums are added in another order, and functions are our own ([vector-math.md](vector-math.md)).
- A float that no integer of the dtype is near (NaN, an infinity, 1e30) becomes 0 if it is NaN, else the nearest int64, of which the
  dtype keeps the low bits; NumPy's answer, and so the interpreter's, depends on the processor.
- The code is kept in a folder that only you can write (`chainrule cache`); its name depends on the graph, the machine and LLVM,
  so that a network that was compiled before starts without LLVM and without any of the passes above.
- An index out of range or an integer divided by 0 stops the run before anything of its batch is written, and is told as in eager mode.
"""


def kernel_of(llvm: str, sign: str) -> str:
    """Return the shortest kernel that contains ``sign``."""
    kernels = re.findall(r"^define void @k\w+\(.*?^}$", llvm, re.MULTILINE | re.DOTALL)
    return min((text for text in kernels if re.search(sign, text)), key=len)


def innermost_loop(assembly: str) -> str:
    """Return the loop with the most multiply-adds."""
    blocks = re.split(r"^(?=\.LBB)", assembly, flags=re.MULTILINE)
    block = max(blocks, key=lambda text: text.count("vfmadd"))
    lines = [line for line in block.splitlines() if not line.strip().startswith((".p2align", ".cfi", "#"))]
    end = next((k for k, line in enumerate(lines) if re.match(r"\s+j[a-z]+\s", line)), len(lines) - 1)
    return "\n".join(line.replace("\t", "    ") for line in lines[: end + 1])


def page() -> str:
    """Return the page."""
    cr.manual_seed(0)
    names: dict[str, object] = {"cr": cr, "nn": nn}
    source = Path(__file__).with_name("_example.py")
    source.write_text(CODE, encoding="utf-8")  # the tracer names lines of files
    try:
        exec(compile(CODE, str(source), "exec"), names)  # noqa: S102  # the code of the page itself
        step: object = names["step"]
        assert isinstance(step, cr.tensors.compile.Compiled)
        step(cr.randn(64, 20), cr.randint(0, 3, (64,)))
        step(cr.randn(64, 20), cr.randint(0, 3, (64,)))
    finally:
        source.unlink()
    assembly = step.assembly
    return PAGE.format(
        vector="AVX-512" if "zmm" in assembly else "AVX2",
        code=CODE,
        graph=step.show(),
        loops=step.loops,
        llvm=kernel_of(step.llvm, r"fadd <16 x float>"),
        assembly=innermost_loop(assembly),
        profile=step.profile(),
    )


if __name__ == "__main__":
    Path(__file__).with_name("compiler.md").write_text(page(), encoding="utf-8")
    print("wrote docs/compiler.md")
