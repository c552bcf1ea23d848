"""What tests of machine code share: small functions in LLVM's language, and calling them."""

from __future__ import annotations

import ctypes

import pytest

from chainrule.compiler import target
from chainrule.compiler.loader import Library

needs_native = pytest.mark.skipif(target.unsupported() is not None, reason=f"no native code: {target.unsupported()}")

TWICE = """
define i64 @twice(i64 %x) nounwind {
  %y = add i64 %x, %x
  ret i64 %y
}
"""

# Constants, variables, zeros, a pointer to be filled in, calls inside and outside, a copy that LLVM calls memcpy for.
MANY_KINDS = """
@squares = constant [4 x float] [float 0.0, float 1.0, float 4.0, float 9.0]
@counter = global i64 5
@zeros = internal global [1000 x i64] zeroinitializer
@pointer = constant ptr @squares
declare float @sinf(float)

define float @square(i64 %i) nounwind {
  %p = load ptr, ptr @pointer
  %q = getelementptr float, ptr %p, i64 %i
  %v = load float, ptr %q
  ret float %v
}
define i64 @count() nounwind {
  %v = load i64, ptr @counter
  %w = add i64 %v, 1
  store i64 %w, ptr @counter
  %z = load volatile i64, ptr getelementptr (i64, ptr @zeros, i64 999)
  %sum = add i64 %w, %z
  ret i64 %sum
}
define internal float @half(float %x) noinline nounwind {
  %y = fmul float %x, 0.5
  ret float %y
}
define float @half_sine(float %x) nounwind {
  %y = call float @sinf(float %x)
  %z = call float @half(float %y)
  ret float %z
}
define void @copy(ptr %to, ptr %from, i64 %n) nounwind {
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %n, i1 false)
  ret void
}
"""


def function(library: Library, name: str, result: type | None, *arguments: type) -> ctypes._CFunctionType:
    """Return a function of a library, called by ctypes. The library must be kept."""
    return ctypes.CFUNCTYPE(result, *arguments)(library[name])


def twice(library: Library, x: int) -> int:
    """Call @twice."""
    found: int = function(library, "twice", ctypes.c_int64, ctypes.c_int64)(x)
    return found
