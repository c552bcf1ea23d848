from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.compiler import cache, target
from chainrule.compiler.cache import Loaded, load_or_build
from chainrule.errors import ArgumentError, NativeError
from tests.compiler.machine_code import TWICE, needs_native, twice

pytestmark = needs_native
uncached_is_expected = pytest.mark.filterwarnings("ignore:native code is not kept on disk")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache, not made yet."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(key: bytes = b"twice", metadata: bytes = b"notes", text: str = TWICE) -> Loaded:
    """Load what doubles a number, and see that it does."""
    loaded = load_or_build(key, lambda: (text, metadata), target.host())
    assert twice(loaded.library, 21) == 42
    assert loaded.metadata == metadata
    return loaded


def never() -> tuple[str, bytes]:
    raise AssertionError("built again")


def entry(folder: Path) -> Path:
    (path,) = folder.glob("*.native")
    return path


def test_the_second_time_code_comes_from_disk(folder: Path) -> None:
    assert not load().from_cache
    loaded = load_or_build(b"twice", never, target.host())
    assert loaded.from_cache
    assert (loaded.metadata, loaded.note, twice(loaded.library, 4)) == (b"notes", "", 8)


def test_folder_and_entry_are_the_users_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        load()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry(folder).stat().st_mode) == 0o600


def test_what_code_follows_from_is_in_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    assert not load(key=b"another").from_cache
    if target.host().avx512:
        assert not load_or_build(b"twice", lambda: (TWICE, b""), target.avx2()).from_cache
    monkeypatch.setattr(cache, "_source", lambda: b"another compiler")
    assert not load().from_cache
    monkeypatch.setattr(cache, "_llvm", lambda: b"another LLVM")
    assert not load().from_cache
    assert load().from_cache


def test_another_source_or_llvm_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "chainrule"
    for name in ("compiler/cache.py", "ops/elementwise.py", "graph/node.py"):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text("1 = 1\n")
    monkeypatch.setattr(cache, "__file__", str(package / "compiler" / "cache.py"))
    seen = [cache._source.__wrapped__()]
    (package / "ops/elementwise.py").write_text("1 = 2\n")
    os.utime(package / "ops/elementwise.py", ns=(1, 1))
    seen.append(cache._source.__wrapped__())
    (package / "graph/another.py").write_text("")
    seen.append(cache._source.__wrapped__())
    package.rename(tmp_path / "moved")
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "moved" / "compiler" / "cache.py"))
    seen.append(cache._source.__wrapped__())
    assert len(set(seen)) == 4
    assert b"llvmlite" in cache._llvm()


def test_a_package_in_a_zip_file_has_the_version_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "all.zip"
    archive.write_bytes(b"1")
    monkeypatch.setattr(cache, "__file__", str(archive / "chainrule" / "compiler" / "cache.py"))
    first = cache._source.__wrapped__()
    archive.write_bytes(b"22")
    assert cache._source.__wrapped__() != first


def damage_truncate(data: bytes, at: int) -> bytes:
    return data[:at]


def damage_flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def damage_extend(data: bytes, at: int) -> bytes:
    return data + bytes(at + 1)


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_extend])
def test_a_damaged_entry_is_built_again(folder: Path, damage: Callable[[bytes, int], bytes]) -> None:
    load()
    data = entry(folder).read_bytes()
    for at in [*range(0, 80, 3), *range(80, len(data), 171), len(data) - 1]:
        entry(folder).write_bytes(damage(data, at))
        assert not load().from_cache
        assert entry(folder).read_bytes() == data
    assert load().from_cache


@given(metadata=st.binary(max_size=100), code=st.binary(max_size=100), data=st.data())
def test_an_entry_is_read_whole_and_under_its_name_or_not_at_all(metadata: bytes, code: bytes, data) -> None:
    packed = cache._pack("name", metadata, code)
    assert cache._unpack(packed, "name") == (metadata, code)
    assert cache._unpack(packed, "other") is None
    at = data.draw(st.integers(0, len(packed) - 1))
    bits = data.draw(st.integers(1, 255))
    assert cache._unpack(packed[:at], "name") is None
    assert cache._unpack(packed[:at] + bytes([packed[at] ^ bits]) + packed[at + 1 :], "name") is None


def test_an_entry_under_another_name_is_not_taken(folder: Path) -> None:
    load(b"one")
    one = entry(folder)
    load(b"two")
    two = next(path for path in folder.iterdir() if path != one)
    two.write_bytes(one.read_bytes())
    assert not load(b"two").from_cache


def test_an_entry_whose_code_cannot_be_loaded_is_built_again(folder: Path) -> None:
    load()
    name = entry(folder).name
    entry(folder).write_bytes(cache._pack(name, b"notes", b"\x7fELF no code"))
    assert not load().from_cache
    assert load().from_cache


@uncached_is_expected
def test_a_folder_that_others_can_write_to_is_refused(folder: Path) -> None:
    load()
    for mode in (0o777, 0o770, 0o702):
        folder.chmod(mode)
        loaded = load()
        assert not loaded.from_cache
        assert f"others may write to {folder}" in loaded.note
        assert f"chmod go-w {folder}" in loaded.note
    assert "others may write" in cache.state().refused
    with pytest.raises(NativeError, match="others may write"):
        cache.clear()
    assert len(list(folder.iterdir())) == 1
    folder.chmod(0o755)
    assert load().from_cache


@uncached_is_expected
def test_a_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    loaded = load()
    assert not loaded.from_cache
    assert "belongs to another user" in loaded.note


@uncached_is_expected
def test_no_folder_is_made_in_that_of_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if folder.parent.stat().st_uid == 0:
        os.chown(folder.parent, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "belongs to another user" in load().note
    assert not folder.exists()


def test_an_entry_that_others_may_have_written_is_built_again(folder: Path) -> None:
    load()
    entry(folder).chmod(0o666)
    assert not load().from_cache
    assert load().from_cache
    if os.geteuid() == 0:
        os.chown(entry(folder), 12345, -1)
        assert not load().from_cache
        assert entry(folder).stat().st_uid == 0


@uncached_is_expected
def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    load()
    kept = entry(folder).rename(tmp_path / "kept")
    for make in (lambda path: path.symlink_to(kept), os.mkfifo, Path.mkdir):
        path = folder / f"{cache._name(b'twice', target.host())}"
        make(path)
        loaded = load()
        assert not loaded.from_cache
        if path.is_dir():
            assert "Is a directory" in loaded.note
            path.rmdir()
        else:
            assert path.is_file()
            assert not path.is_symlink()
            path.unlink()
    assert kept.exists()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in load().note
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_above_may_be_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "link" / "native"))
    load()
    assert load().from_cache


@uncached_is_expected
@pytest.mark.parametrize("named", ["/proc/nowhere/cache", "/dev/null", "/dev/null/cache"])
def test_where_nothing_can_be_made_code_is_built_each_time(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv(cache.VARIABLE, named)
    for _ in range(2):
        loaded = load()
        assert not loaded.from_cache
        assert f"{named} cannot be used (" in loaded.note


def test_code_that_is_not_kept_is_one_warning_that_says_what_to_do(folder: Path) -> None:
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.warns(UserWarning, match="not kept on disk") as told:
        load()
    load()  # warnings are errors: there is none
    load(b"another")
    assert str(told[0].message) == (
        f"native code is not kept on disk, and compiled again in each process: others may write to {folder}, and their code "
        f"would be run: chmod go-w {folder}. Otherwise CHAINRULE_CACHE=FOLDER names a folder of your own, and "
        "CHAINRULE_CACHE=off keeps none"
    )


def test_the_warning_comes_from_a_compiled_function_and_stands_in_its_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    folder.mkdir()
    folder.chmod(0o770)
    compiled = cr.compile(lambda x: x * 3 + 1)
    with pytest.warns(UserWarning, match=f"not kept on disk.*others may write to {folder}"):
        assert compiled(cr.ones(2)).tolist() == [4, 4]
    assert f"not kept on disk: others may write to {folder}" in compiled.report()


@pytest.mark.parametrize("word", ["off", "0", "OFF", "no", "false"])
def test_switched_off_nothing_is_kept_and_nobody_is_warned(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv(cache.VARIABLE, word)
    assert not load().from_cache
    assert load().note == "CHAINRULE_CACHE is off"
    assert cache.clear() == 0
    assert cache.state() == cache.State(None, "CHAINRULE_CACHE is off")


@pytest.mark.parametrize("word", ["on", "1", "True"])
def test_a_word_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(cache.VARIABLE, word)
    with pytest.raises(ArgumentError, match=f"CHAINRULE_CACHE is '{word}'; expected a folder, or off"):
        load()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(cache.VARIABLE, f"./{word}")
    load()
    assert (tmp_path / word).is_dir()


def limited(before: str, folder: Path, **options: object) -> str:
    """Load in a process of its own, after some preparation; return what it prints."""
    program = (
        f"import os, resource, signal\n{before}\n"
        "from chainrule.compiler.cache import load_or_build\nfrom chainrule.compiler.target import host\n"
        f"loaded = load_or_build(b'twice', lambda: ({TWICE!r}, b'notes'), host())\n"
        "print(loaded.from_cache, loaded.note)\n"
    )
    environment = {**os.environ, cache.VARIABLE: str(folder)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, **options)  # type: ignore[call-overload]
    assert run.returncode == 0, run.stderr
    return str(run.stdout)


def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing_half_written(folder: Path) -> None:
    found = limited("resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))", folder)
    assert found == f"False {folder} cannot be used (File too large)\n"
    assert list(folder.iterdir()) == []


@uncached_is_expected
def test_a_folder_that_cannot_be_written_serves_what_it_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    of_os = os.open

    def read_only(path: object, flags: int, *rest: object, **more: object) -> int:
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system")
        return of_os(path, flags, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", read_only)
    os.utime(entry(folder), (0, 0))
    monkeypatch.setattr(os, "utime", lambda *_: read_only("", os.O_CREAT))
    assert load().from_cache
    loaded = load(b"another")
    assert "Read-only file system" in loaded.note


def test_a_folder_that_cannot_be_written_is_shown_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.state() == cache.State(folder, "")
    monkeypatch.setattr(os, "access", lambda path, mode, **_: False)
    assert f"{folder.parent} cannot be written" in cache.state().refused
    load()
    found = cache.state()
    assert (found.num_entries, found.refused) == (1, "")
    assert f"{folder} cannot be written" in found.unwritable


def test_a_system_that_knows_no_owners_keeps_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "HAS_OWNERS", False)
    assert "does not tell who may write" in load().note
    assert "does not tell who may write" in cache.state().refused


def test_the_folder_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.state().folder == tmp_path / ".cache" / "chainrule" / "native"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.state().folder == tmp_path / ".cache" / "chainrule" / "native"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.state().folder == tmp_path / "xdg" / "chainrule" / "native"
    load()
    assert load().from_cache
    assert [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "xdg").rglob("*") if p.is_dir()] == [0o700] * 2
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(cache.VARIABLE, "here")
    assert cache.state().folder == tmp_path / "here"


@uncached_is_expected
def test_without_home_the_users_entry_is_asked_and_without_that_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (cache.VARIABLE, "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache.state().folder == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache" / "chainrule" / "native"

    def no_entry(_: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    assert "no home folder to keep it in (set CHAINRULE_CACHE)" in load().note


def test_the_oldest_entries_go_when_there_are_too_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "EVERY", 1)
    load(b"0")
    size = entry(folder).stat().st_size
    monkeypatch.setattr(cache, "LIMIT", 4 * size)
    names = []
    for number in range(4):
        load(b"%d" % number)
        names.append(cache._name(b"%d" % number, target.host()))
        os.utime(folder / names[-1], (1000 + number, 1000 + number))
    assert load(b"0").from_cache  # used just now
    load(b"4")
    assert {path.name for path in folder.iterdir()} == {names[0], names[3], cache._name(b"4", target.host())}
    monkeypatch.setattr(cache, "LIMIT", 10)
    load(b"5")
    assert entry(folder).name == cache._name(b"5", target.host())


def test_a_full_folder_is_looked_at_now_and_then(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(cache, "_bound", lambda folder, keep: looked.append(keep))
    names = [f"{number * 2**24:08x}{'0' * 56}.native" for number in range(256)]
    assert sum(cache._is_due(name, 10_000) for name in names) == 256 // cache.EVERY
    assert all(cache._is_due(name, cache.LIMIT // 10 + 1) for name in names)
    for number in range(60):
        load(b"%d" % number)
    assert looked == [
        name
        for name in map(cache._name, [b"%d" % k for k in range(60)], [target.host()] * 60)
        if cache._is_due(name, 0)
    ]
    assert len(looked) < 15


def test_a_file_that_nobody_finished_goes_after_an_hour(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "EVERY", 1)
    load()
    begun = folder / f".{'a' * 64}.native.1.01234567.unfinished"
    begun.write_bytes(b"half")
    load(b"another")
    assert begun.exists()
    os.utime(begun, (time.time() - 4000,) * 2)
    load(b"a third")
    assert not begun.exists()


def test_an_entry_is_marked_as_used_once_a_minute(folder: Path) -> None:
    load()
    for age, is_marked in ((30, False), (90, True)):
        then = time.time() - age
        os.utime(entry(folder), (then, then))
        load()
        assert (entry(folder).stat().st_mtime > then + 10) == is_marked


def test_clearing_removes_entries_and_nothing_else(folder: Path) -> None:
    assert cache.clear() == 0
    load(b"one")
    load(b"two")
    others = ["notes.txt", "x.native", "a" * 64, f"{'A' * 64}.native", ".hidden", f".{'a' * 64}.native.unfinished"]
    for name in others:
        (folder / name).write_text("mine")
    (folder / f"{'a' * 64}.native").mkdir()
    (folder / f"{'b' * 64}.native").symlink_to(folder / "notes.txt")
    (folder / f".{'a' * 64}.native.1.01234567.unfinished").write_text("half")
    assert cache.state().num_entries == 2
    assert cache.clear() == 2
    assert {path.name for path in folder.iterdir()} == {*others, f"{'a' * 64}.native", f"{'b' * 64}.native"}
    assert not load(b"one").from_cache


def test_the_state_counts_entries(folder: Path) -> None:
    assert cache.state() == cache.State(folder, "")
    assert not folder.exists()
    load(b"one")
    load(b"two")
    found = cache.state()
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert (found.num_entries, found.size) == (2, sum(sizes))
    assert abs(found.newest - time.time()) < 60


def test_an_error_in_building_is_the_callers_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(AssertionError, match="built again"):
        load_or_build(b"x", never, target.host())
    with pytest.raises(NativeError, match="nonsense"):
        load_or_build(b"x", lambda: ("nonsense", b""), target.host())
    calls = "declare void @nowhere()\ndefine void @f() {\n  call void @nowhere()\n  ret void\n}\n"
    with pytest.raises(NativeError, match="calls nowhere"):
        load_or_build(b"x", lambda: (calls, b""), target.host())
    assert not any(folder.glob("*"))


def test_a_warm_start_is_fast_and_loads_no_llvm(folder: Path) -> None:
    load()
    program = (
        "import sys, time, numpy, ctypes\n"
        "from chainrule.compiler.cache import load_or_build\nfrom chainrule.compiler.target import host, unsupported\n"
        "start = time.perf_counter()\nassert unsupported() is None\n"
        "assert load_or_build(b'twice', None, host()).from_cache\n"
        "print('llvmlite' in sys.modules, time.perf_counter() - start)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    assert {run.stdout.split()[0] for run in runs} == {"False"}
    assert min(float(run.stdout.split()[1]) for run in runs) < 0.02  # about 1 ms where nothing else runs


WRITER = """
import sys
from chainrule.compiler.cache import load_or_build
from chainrule.compiler.target import host
import ctypes
for turn in range(int(sys.argv[1])):
    key = b"%d" % (turn % 5)
    text = "define i64 @f() {{ ret i64 %d }}\\n" % (turn % 5)
    loaded = load_or_build(key, lambda: (text, key * 1000), host())
    assert loaded.metadata == key * 1000 and not loaded.note
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(loaded.library["f"])() == turn % 5
print("done")
""".replace("{{", "{").replace("}}", "}")


def test_processes_that_write_read_and_clear_at_once_do_not_disturb_each_other(folder: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    while any(process.poll() is None for process in running):
        cache.clear()
        time.sleep(0.01)
    for process in running:
        out, err = process.communicate()
        assert (out, process.returncode) == ("done\n", 0), err


def test_a_process_killed_at_any_moment_leaves_a_folder_that_works(folder: Path) -> None:
    for delay in (0.3, 0.4, 0.6):
        process = subprocess.Popen([sys.executable, "-c", WRITER, "100000"], stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = subprocess.run([sys.executable, "-c", WRITER, "5"], capture_output=True, text=True)
        assert found.stdout == "done\n", found.stderr
