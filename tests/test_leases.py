"""Folders that workers on several machines share: who holds one, for how long, and what it leaves.

Ages are set by the times of files; no test waits for a lease to end.
"""

import os
import threading
import time

import pytest

from sbo_jax.disk import leases
from sbo_jax.disk.claims import LEASE, LOCK
from sbo_jax.disk.leases import Renewal, hand_over, held_folders, is_held, take, time_on

LONG = 1000.0


def taken(name, seconds=LONG):
    """What a worker gets that looks now."""
    held = held_folders(name.parent)
    return take(name, held.get(name.name, 0), time_on(name.parent), seconds)


def silent(lease, seconds):
    """The lease, renewed for the last time so many seconds ago by the disk's time."""
    last = time_on(lease.path.parent) - seconds
    os.utime(lease.path / LEASE, (last, last))
    return lease


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def asked_at_once(name):
    """What eight threads get that ask for this folder together."""
    got, start = [], threading.Barrier(8)

    def ask():
        start.wait()
        got.append(taken(name))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_one_of_many_that_ask_at_once_gets_a_folder(tmp_path):
    for round_ in range(20):
        name = tmp_path / f"cell{round_}"
        (lease,) = filter(None, asked_at_once(name))
        assert lease.renew()
        assert lease.number == 1
        assert [path.name for path in tmp_path.glob(f"{name.name}*")] == [lease.path.name]


def test_a_new_folder_never_has_its_name_without_its_lease(tmp_path, monkeypatch):
    """Or another worker would take it over from one that has it."""
    write, seen = leases._overwrite, []

    def watched(path, content):
        seen.append([(folder / LEASE).exists() for folder in tmp_path.glob("cell.*")])
        write(path, content)

    monkeypatch.setattr(leases, "_overwrite", watched)
    assert taken(tmp_path / "cell").renew()
    assert seen[0] == []
    assert all(map(all, seen))


def test_who_asks_for_a_new_folder_leaves_no_other(tmp_path):
    lease = taken(tmp_path / "cell")
    assert take(tmp_path / "cell", 0, time_on(tmp_path), LONG) is None
    assert list(tmp_path.iterdir()) == [lease.path]
    lease.give_back()
    assert take(tmp_path / "cell", 0, time_on(tmp_path), LONG) is None
    assert taken(tmp_path / "cell").number == 2


def test_one_of_many_takes_over_from_who_fell_silent(tmp_path):
    for round_ in range(20):
        name = tmp_path / f"cell{round_}"
        first = silent(taken(name), 2 * LONG)
        holders = [lease for lease in asked_at_once(name) if lease and lease.renew()]
        assert len(holders) == 1
        assert not first.renew()


def test_a_folder_is_taken_over_when_its_lease_has_ended_and_not_before(tmp_path, rng):
    for number in range(20):
        name, seconds = tmp_path / f"cell{number}", rng.uniform(10, LONG)
        lease = taken(name, seconds)
        silent(lease, seconds * rng.uniform(0, 0.9))
        # The lease is the holder's: another worker may have asked for another.
        assert taken(name, seconds=1.0) is None
        assert lease.renew()
        silent(lease, seconds * rng.uniform(1.1, 3))
        after = taken(name, seconds=10 * LONG)
        assert after.taken_from == f"process {os.getpid()} on {os.uname().nodename}"
        assert after.number == lease.number + 1


def test_clocks_of_machines_decide_nothing(tmp_path, rng, monkeypatch):
    clock = time.time
    name = tmp_path / "cell"
    lease = taken(name)
    for _ in range(10):
        offset = rng.uniform(-1e6, 1e6)
        monkeypatch.setattr(time, "time", lambda offset=offset: clock() + offset)
        assert taken(name) is None
        assert lease.renew()
    silent(lease, 2 * LONG)
    assert taken(name) is not None


def test_a_folder_that_was_given_back_is_free_at_once_and_nobody_fell_silent(tmp_path):
    lease = taken(tmp_path / "cell")
    (lease.path / "work").write_text("half")
    assert is_held(tmp_path / "cell", lease.number)
    lease.give_back()
    assert not is_held(tmp_path / "cell", lease.number)
    after = taken(tmp_path / "cell")
    assert after.taken_from is None
    assert (after.path / "work").read_text() == "half"


def test_who_lost_a_lease_can_neither_publish_nor_renew_nor_write(tmp_path):
    name = tmp_path / "cell"
    paused = silent(taken(name), 2 * LONG)
    (paused.path / "result").write_text("by the first")
    after = taken(name)
    assert not paused.renew()
    assert not paused.publish()
    with pytest.raises(FileNotFoundError):
        (paused.path / "result").write_text("by the first, later")
    paused.give_back()
    assert after.renew()
    (after.path / "result").write_text("by the second")
    assert after.publish()
    assert not paused.publish()
    assert contents(name) == {"result": "by the second"}


def test_a_folder_that_is_made_again_by_who_lost_it_counts_for_nothing(tmp_path):
    """As libraries make the folders that they write to."""
    name = tmp_path / "cell"
    paused = silent(taken(name), 2 * LONG)
    after = taken(name)
    paused.path.mkdir()
    (paused.path / "result").write_text("by the first")
    assert not paused.renew()
    assert not paused.publish()
    assert taken(name) is None
    (after.path / "result").write_text("by the second")
    assert after.publish()
    assert contents(name) == {"result": "by the second"}
    assert not paused.publish()


def test_who_looked_long_ago_does_not_get_what_was_published_since(tmp_path):
    name = tmp_path / "cell"
    now = time_on(tmp_path)
    lease = taken(name)
    (lease.path / "result").write_text("done")
    assert lease.publish()
    for number in range(3):
        assert take(name, number, now, LONG) is None
    assert held_folders(tmp_path) == {}
    assert contents(name) == {"result": "done"}


def test_what_was_there_before_workers_shared_it_goes_on(tmp_path):
    name = tmp_path / "cell"
    name.mkdir()
    (name / "work").write_text("half")
    (name / LOCK).write_text("held by one that is paused")
    hand_over(name)
    hand_over(name)  # as two workers may at once
    lease = taken(name)
    assert contents(lease.path).keys() == {"work", LEASE}
    assert not name.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seconds": "x"}', "\0"])
def test_a_lease_that_cannot_be_read_is_as_long_as_that_of_the_reader(tmp_path, content):
    lease = taken(tmp_path / "cell")
    (lease.path / LEASE).write_text(content)
    silent(lease, 50)
    assert taken(tmp_path / "cell", seconds=60.0) is None
    assert taken(tmp_path / "cell", seconds=40.0).taken_from == "another process"


def age(lease):
    """Seconds since it was renewed."""
    return time_on(lease.path.parent) - (lease.path / LEASE).stat().st_mtime


def test_a_lease_is_renewed_until_it_is_popped(tmp_path):
    with Renewal(0.05) as renewal:
        lease = silent(taken(tmp_path / "cell"), 2 * LONG)
        renewal.add("cell", lease)
        deadline = time.monotonic() + 20
        while age(lease) > LONG and time.monotonic() < deadline:
            time.sleep(0.01)
        assert age(lease) < LONG
        silent(renewal.pop("cell"), 2 * LONG)
        time.sleep(0.1)
        assert age(lease) > LONG


def test_a_renewal_that_ends_gives_back_what_it_has(tmp_path):
    with Renewal(LONG) as renewal:
        lease = taken(tmp_path / "cell")
        renewal.add("cell", lease)
    assert taken(tmp_path / "cell").taken_from is None
