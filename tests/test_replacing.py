"""What is left when a save is stopped on its way, and what others see meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import cofactor as cf
from cofactor import storage
from cofactor.storage import replacing
from tests.test_storage import BOTH_WAYS, fitted, same

STEPS = ["mkdir", "open", "fsync", "rename", "unlink", "rmdir", "fchmod", "chmod"]  # of os, by any caller


class Step:
    """Does something at the k-th call of any of STEPS, or of the exchange."""

    def __init__(self, patch, k, act):
        self.k, self.act, self.calls = k, act, 0
        for name in STEPS:
            patch(os, name, self.counted(getattr(os, name)))
        patch(replacing, "_exchange", self.counted(replacing._exchange))

    def counted(self, call):
        def counting(*args, **kwargs):
            self.calls += 1
            if self.calls == self.k:
                self.act()
            return call(*args, **kwargs)

        return counting


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


@BOTH_WAYS
def test_any_step_may_fail_and_the_old_model_stays(ratings, tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(replacing, "_exchange_call", exchange)
    old, new = fitted("baseline", ratings), fitted("joint", ratings)
    failed = 0
    for k in range(1, 200):
        cf.save(old, tmp_path / "model")
        with pytest.MonkeyPatch.context() as patch:
            step = Step(patch.setattr, k, full)
            try:
                cf.save(new, tmp_path / "model")
                error = None
            except (cf.CofactorError, cf.BadModel) as raised:
                error = raised
        loaded = cf.load(tmp_path / "model")
        if error is None:
            assert same(loaded, new)
        else:
            failed += 1
            assert "No space left" in str(error)
            assert same(loaded, old)
            assert os.listdir(tmp_path) == ["model"]
        if step.calls < k:
            break
    assert step.calls < k
    assert failed >= 10


def test_a_failed_first_save_leaves_no_folders(ratings, tmp_path):
    model = fitted("baseline", ratings)
    for k in range(1, 200):
        with pytest.MonkeyPatch.context() as patch:
            step = Step(patch.setattr, k, full)
            try:
                cf.save(model, tmp_path / "a" / "b" / "model")
                break
            except cf.CofactorError:
                assert os.listdir(tmp_path) == []
    assert step.calls > 10
    assert same(cf.load(tmp_path / "a" / "b" / "model"), model)


def test_a_failed_first_save_leaves_nothing(ratings, tmp_path, monkeypatch):
    def write_half(path, arrays):
        Path(path).write_bytes(b"half")
        full()

    monkeypatch.setattr(storage, "write_tensors", write_half)
    with pytest.raises(cf.CofactorError, match="No space left"):
        cf.save(fitted("baseline", ratings), tmp_path / "a" / "b" / "model")
    monkeypatch.setattr(
        storage, "write_tensors", lambda path, arrays: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        cf.save(fitted("baseline", ratings), tmp_path / "a" / "b" / "model")
    assert os.listdir(tmp_path) == []


KILLED = """
    # For each k: a process that is killed before its k-th step. Prints what is there afterwards.
    import os, signal, sys
    import cofactor as cf
    from cofactor.storage import replacing
    from tests.test_replacing import Step
    from tests.test_storage import same

    folder, swap = sys.argv[1:]
    old, new = cf.load(folder + "/old"), cf.load(folder + "/new")
    os.mkdir(folder + "/place")
    target = folder + "/place/model"
    if swap == "renames":
        replacing._exchange_call = lambda: None
    for k in range(1, 200):
        cf.save(old, target)
        assert os.listdir(folder + "/place") == ["model"], "the last one's leftovers are cleared away"
        child = os.fork()
        if child == 0:
            Step(setattr, k, lambda: os.kill(os.getpid(), signal.SIGKILL))
            cf.save(new, target)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        model = cf.load(target)
        found = ["other", "old", "new"][same(model, old) + 2 * same(model, new)]
        print("killed" if os.WIFSIGNALED(status) else status, found)
        if not os.WIFSIGNALED(status):
            break
"""


def run(program: str, *arguments: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("swap", ["exchange", "renames"])
def test_killed_at_any_step_the_old_or_the_new_model_is_there(swap, ratings, tmp_path):
    cf.save(fitted("joint", ratings), tmp_path / "old")
    cf.save(fitted("plain", ratings), tmp_path / "new")
    states = run(KILLED, tmp_path, swap)
    *killed, last = states
    assert last == "0 new"
    assert set(killed) == {"killed old", "killed new"}
    assert killed == sorted(killed, reverse=True)  # once the new one is there, it stays
    assert len(killed) > 15


def test_only_what_is_unmistakably_ours_is_cleared_away(ratings, tmp_path):
    model = fitted("baseline", ratings)
    ours = tmp_path / ".model.12345-0123456789abcdef.tmp"
    kept = [
        ".model.12345-0123456789abcde.tmp",
        ".model.old.tmp",
        ".other.12345-0123456789abcdef.tmp",
        "model.12345-0123456789abcdef.tmp",
        ".model.12345-1123456789abcdef.tmp",  # with a file that is not ours
        ".model.12345-2123456789abcdef.tmp",  # with a folder
    ]
    for name in [ours.name, *kept]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "ids.parquet").write_text("half")
    (ours / ".tmpAb12xY").write_text("of safetensors")
    (tmp_path / kept[4] / "mine.txt").write_text("mine")
    (tmp_path / kept[5] / "factors.safetensors").mkdir()
    link = tmp_path / ".model.12345-3123456789abcdef.tmp"
    link.symlink_to(tmp_path / kept[2])
    before = {path for path in tmp_path.rglob("*") if ours not in (path, path.parent)}
    cf.save(model, tmp_path / "model")
    after = {path for path in tmp_path.rglob("*") if (tmp_path / "model") not in (path, path.parent)}
    assert after == before


def test_the_folder_of_a_save_under_way_is_left_alone(ratings, tmp_path, monkeypatch):
    model = fitted("baseline", ratings)
    write = storage.write_tensors

    def another_saves_meanwhile(path, arrays):
        monkeypatch.setattr(storage, "write_tensors", write)
        cf.save(fitted("joint", ratings), tmp_path / "model")
        write(path, arrays)

    monkeypatch.setattr(storage, "write_tensors", another_saves_meanwhile)
    cf.save(model, tmp_path / "model")
    assert same(cf.load(tmp_path / "model"), model)
    assert os.listdir(tmp_path) == ["model"]


def test_between_two_renames_the_old_model_is_found(ratings, tmp_path):
    model = fitted("baseline", ratings)
    cf.save(model, tmp_path / "model")
    os.rename(tmp_path / "model", tmp_path / ".model.old")
    assert same(cf.load(tmp_path / "model"), model)
    assert cf.verify(tmp_path / "model").path == str(tmp_path / ".model.old")
    cf.save(fitted("joint", ratings), tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]


WRITERS = """
    import sys
    import cofactor as cf
    from cofactor.storage import replacing

    folder, swap = sys.argv[1:]
    models = [cf.load(f"{folder}/{name}") for name in ("old", "new")]
    if swap == "renames":
        replacing._exchange_call = lambda: None
    for turn in range(60):
        cf.save(models[turn % 2], folder + "/place/model")
"""


@pytest.mark.parametrize("swap", ["exchange", "renames"])
def test_readers_and_writers_at_once(swap, ratings, tmp_path):
    """Two processes replace one model over and over; whoever reads meanwhile gets a whole one."""
    old, new = fitted("joint", ratings), fitted("plain", ratings)
    for name, model in {"old": old, "new": new, "place/model": old}.items():
        cf.save(model, tmp_path / name)
    writers = [threading.Thread(target=run, args=(WRITERS, tmp_path, swap)) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = []
    while any(writer.is_alive() for writer in writers):
        model = cf.load(tmp_path / "place" / "model")
        seen.append((same(model, old), same(model, new)))
    for writer in writers:
        writer.join()
    assert set(seen) == {(True, False), (False, True)}
    assert os.listdir(tmp_path / "place") == ["model"]
