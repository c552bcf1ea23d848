"""Machine code on disk and in memory: kept, found, made again when damaged, refused where others could have written it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.compiler import cache
from chainrule.compiler.cache import ENTRY, load_or_make
from chainrule.compiler.llvm import assembly, object_code
from chainrule.compiler.loader import Library
from chainrule.compiler.target import AARCH64, AVX2, host
from chainrule.errors import FileError, VerifyError

IR = "define i64 @plus_one(i64 %x) {\n  %y = add i64 %x, 1\n  ret i64 %y\n}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "code"
    monkeypatch.setenv("CHAINRULE_CACHE", str(place))
    return place


def call(library: Library, x: int) -> int:
    found: int = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library["plus_one"])(x)
    return found


def entry(folder: Path) -> Path:
    (path,) = folder.glob(f"*{ENTRY}")
    return path


def test_code_is_made_once_and_then_found(folder: Path) -> None:
    for from_cache in (False, True, True):
        loaded = load_or_make(IR, host())
        assert loaded.from_cache is from_cache
        assert call(loaded.library, 41) == 42
    assert folder.stat().st_mode & 0o777 == 0o700


def test_another_text_or_machine_is_another_entry(folder: Path) -> None:
    load_or_make(IR, host())
    assert not load_or_make(IR.replace("1\n", "2\n", 1), host()).from_cache
    if host() is not AVX2:
        assert not load_or_make(IR, AVX2).from_cache


@pytest.mark.parametrize("at", [0, 10, 30, 60, 100, 300, -1])
def test_a_flipped_byte_is_seen_and_the_code_made_again(folder: Path, at: int) -> None:
    load_or_make(IR, host())
    path = entry(folder)
    contents = bytearray(path.read_bytes())
    contents[at] ^= 1
    path.write_bytes(contents)
    loaded = load_or_make(IR, host())
    assert not loaded.from_cache
    assert call(loaded.library, 1) == 2
    assert load_or_make(IR, host()).from_cache


@pytest.mark.parametrize("length", [0, 10, 40, 70, 200])
def test_a_truncated_entry_is_made_again(folder: Path, length: int) -> None:
    load_or_make(IR, host())
    path = entry(folder)
    path.write_bytes(path.read_bytes()[:length])
    assert not load_or_make(IR, host()).from_cache
    assert load_or_make(IR, host()).from_cache


def test_a_folder_that_others_can_write_is_not_used(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    assert not load_or_make(IR, host()).from_cache
    assert not load_or_make(IR, host()).from_cache
    assert not list(folder.iterdir())


def test_a_link_in_place_of_the_folder_is_not_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    load_or_make(IR, host())
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("named", ["", "0", "/proc/nowhere/code"])
def test_without_a_folder_code_is_made_each_time(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", named)
    assert call(load_or_make(IR, host()).library, 1) == 2
    assert not load_or_make(IR, host()).from_cache


def test_the_entries_that_were_not_used_for_longest_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_BYTES", 3000)
    texts = [IR.replace("add i64 %x, 1", f"add i64 %x, {k}") for k in range(6)]
    for age, text in enumerate(texts):
        load_or_make(text, host())
        newest = max(folder.glob(f"*{ENTRY}"), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (1e9 + age, 1e9 + age))
    left = list(folder.glob(f"*{ENTRY}"))
    assert 0 < sum(path.stat().st_size for path in left) <= 3000 + left[0].stat().st_size
    assert load_or_make(texts[-1], host()).from_cache


def test_processes_that_make_the_same_code_at_once_do_not_disturb_each_other(folder: Path) -> None:
    program = (
        "from chainrule.compiler.cache import load_or_make\nfrom chainrule.compiler.target import host\n"
        f"print(load_or_make({IR!r}, host()).library['plus_one'] > 0)"
    )
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in running] == ["True"] * 4
    assert load_or_make(IR, host()).from_cache
    assert not list(folder.glob("*.part"))


def test_a_warm_start_does_not_load_llvm(folder: Path) -> None:
    load_or_make(IR, host())
    program = (
        "import sys\nfrom chainrule.compiler.cache import load_or_make\nfrom chainrule.compiler.target import host\n"
        f"assert load_or_make({IR!r}, host()).from_cache\nprint('llvmlite' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_what_is_no_object_file_and_an_unknown_function_are_refused_by_name() -> None:
    with pytest.raises(FileError, match="no ELF object"):
        Library(b"nothing of the kind")
    calls = (
        "declare i64 @elsewhere(i64)\ndefine i64 @f(i64 %x) {\n  %y = call i64 @elsewhere(i64 %x)\n  ret i64 %y\n}\n"
    )
    with pytest.raises(FileError, match="'elsewhere'"):
        Library(object_code(calls, host()))
    known = Library(object_code(IR, host()))
    library = Library(object_code(calls, host()), {"elsewhere": known["plus_one"]})
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library["f"])(1) == 2


def test_an_error_of_llvm_shows_the_lines() -> None:
    with pytest.raises(VerifyError, match="%y = nonsense"):
        object_code(IR.replace("add", "nonsense"), host())


def test_a_switch_of_the_whole_process_is_set_back() -> None:
    loop = (
        "define void @f(ptr %p, i64 %n) {\nentry:\n  br label %a\na:\n  %i = phi i64 [ 0, %entry ], [ %j, %a ]\n"
        "  %k = mul i64 %i, 12\n  %q = getelementptr i32, ptr %p, i64 %k\n  store i32 1, ptr %q\n  %j = add i64 %i, 1\n"
        "  %c = icmp slt i64 %j, %n\n  br i1 %c, label %a, label %b\nb:\n  ret void\n}\n"
    )
    import llvmlite.binding as binding

    def made_by_others() -> str:
        module = binding.parse_assembly(loop)
        machine = binding.Target.from_default_triple().create_target_machine(opt=2)
        text: str = machine.emit_assembly(module)
        return text

    object_code(IR, host())  # sets up LLVM
    before = made_by_others()
    object_code(loop, host())
    assert made_by_others() == before


def test_code_for_another_machine_is_text_at_least() -> None:
    assert "add\tx0, x0, #1" in assembly(IR, AARCH64)
