from __future__ import annotations

import sys
import threading

import pytest

from chainrule.compiler import llvm, target
from chainrule.errors import NativeError
from tests.compiler.machine_code import MANY_KINDS, TWICE

pytest.importorskip("llvmlite", reason="needs llvmlite")

MULTIPLY_ADD = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @f(ptr %a, ptr %b) nounwind {
  %x = load <16 x float>, ptr %a
  %y = load <16 x float>, ptr %b
  %z = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %y, <16 x float> %x)
  store <16 x float> %z, ptr %a
  ret void
}
"""

# A loop whose three addresses loop strength reduction would turn into pointers of their own.
STRIDED = """
define void @f(ptr %a, ptr %b, i64 %n, i64 %s) nounwind {
entry:
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %j, %head ]
  %k = mul i64 %i, %s
  %k1 = add i64 %k, 7
  %p = getelementptr double, ptr %a, i64 %k
  %q = getelementptr double, ptr %b, i64 %k1
  %x = load double, ptr %p
  %y = load double, ptr %q
  %z = fadd double %x, %y
  store double %z, ptr %p
  %j = add i64 %i, 1
  %again = icmp slt i64 %j, %n
  br i1 %again, label %head, label %done
done:
  ret void
}
"""


@pytest.fixture(autouse=True)
def _without_options() -> None:
    """What other tests of this process set for themselves is set back."""
    with llvm._options(llvm._llvm()):
        pass


def test_vectors_fill_the_registers_of_the_target() -> None:
    assert "zmm" in llvm.assembly(MULTIPLY_ADD, target.avx512())
    for machine, register, other in (
        (target.avx2(), "vfmadd213ps", "zmm"),
        (target.aarch64(), "fmla\tv0.4s", "xmm"),
        (target.baseline(), "fmaf", "ymm"),
    ):
        text = llvm.assembly(MULTIPLY_ADD, machine)
        assert register in text.replace("231ps", "213ps")
        assert other not in text


@pytest.mark.parametrize("machine", [target.avx512(), target.avx2(), target.baseline(), target.aarch64()])
def test_the_same_text_gives_the_same_object(machine: target.Target) -> None:
    code = llvm.object_code(MANY_KINDS, machine)
    assert code[:4] == b"\x7fELF"
    assert llvm.object_code(MANY_KINDS, machine) == code


def test_a_text_that_cannot_be_read_is_shown_where_it_is_wrong() -> None:
    lines = TWICE.splitlines()
    lines[2] = "  %y = add i32 %x, %x"
    for action in (llvm.verify, lambda text: llvm.object_code(text, target.avx2())):
        with pytest.raises(NativeError) as caught:
            action("\n".join(lines))
        text = str(caught.value)
        assert ">     3   %y = add i32 %x, %x" in text
        assert "      4   ret i64 %y" in text
        assert text.endswith("'%x' defined with type 'i64' but expected 'i32'.")


def test_a_text_that_breaks_the_rules_is_refused() -> None:
    text = "define i64 @f() {\n  %x = add i64 %y, 1\n  %y = add i64 %x, 1\n  ret i64 %y\n}\n"
    with pytest.raises(NativeError, match="breaks its rules"):
        llvm.verify(text)
    llvm.verify(TWICE)


def test_options_change_what_is_made_here_and_nothing_else_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plain(STRIDED)
    with_options = llvm.object_code(STRIDED, target.avx2())
    assert plain(STRIDED) == before
    monkeypatch.setattr(llvm, "OPTIONS", ())
    assert llvm.object_code(STRIDED, target.avx2()) == before
    assert with_options != before


def test_options_are_not_seen_by_other_threads_that_make_code() -> None:
    before = plain(STRIDED)
    ours = llvm.object_code(STRIDED, target.avx2())
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.extend(plain(STRIDED) for _ in range(200)))
    thread.start()
    num_ours = 0
    while thread.is_alive():
        assert llvm.object_code(STRIDED, target.avx2()) == ours
        num_ours += 1
    thread.join()
    assert len(found) == 200
    assert set(found) == {before}
    assert num_ours > 5


def test_options_are_set_back_after_an_error() -> None:
    before = plain(STRIDED)
    with pytest.raises(ZeroDivisionError), llvm._options(llvm._llvm("x86_64")):
        _ = 1 / 0
    assert plain(STRIDED) == before


def test_an_llvm_that_is_not_known_gets_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plain(STRIDED)
    monkeypatch.setattr(llvm, "KNOWN_VERSIONS", range(0))
    assert llvm.object_code(STRIDED, target.avx2()) == before


def test_without_llvmlite_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    llvm._llvm.cache_clear()
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    with pytest.raises(NativeError, match="llvmlite"):
        llvm.object_code(TWICE, target.avx2())
    llvm._llvm.cache_clear()


def plain(ir: str) -> bytes:
    """Make an object as another user of llvmlite in this process would."""
    import llvmlite.binding as binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    asked = target.avx2()
    machine = binding.Target.from_triple(asked.triple).create_target_machine(
        cpu=asked.cpu, features=asked.features, opt=2, reloc="pic", codemodel="small"
    )
    module = binding.parse_assembly(ir)
    module.triple, module.data_layout = asked.triple, str(machine.target_data)
    code: bytes = machine.emit_object(module)
    return code
