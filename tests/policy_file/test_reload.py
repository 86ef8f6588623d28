"""A changed policy file: when it counts, what is recorded of it, and what a bad one changes (nothing)."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from csrs import good_csr
from issuance.desk import NOW, POLICY, Desk, requester
from issuance.doors import submission
from kubemint.errors import ConfigurationError, LedgerUnavailable, RequestRefused
from kubemint.record import rfc3339
from policy_file.watching import Watching, loads, refused, settle, version_of

OTHER = POLICY.replace("[developers, viewers", "[admins, viewers")
THIRD = POLICY.replace("default: 1h", "default: 2h")
BAD = {
    "no YAML": "profiles: [",
    "empty": "",
    "no policy": "hello",
    "system:masters": POLICY.replace("viewers", '"system:masters"'),
    "an authority that is not configured": POLICY.replace(
        "{token: requester}", "{oidc: nowhere, claims: {sub: x}}"
    ),
    "an unknown key": POLICY + "extra: 1\n",
    "not UTF-8": POLICY.encode("utf-16"),
    "an alias": "a: &a 1\nb: *a\n",
    "thousands of brackets": "[" * 5000,
}
Text = str | bytes


def test_the_first_policy_is_recorded(watching: Watching) -> None:
    """A service that starts records its policy once, whole, whatever number of processes it has."""
    processes = [watching.process() for _ in range(3)]
    version = version_of(POLICY.encode())
    assert [process().version for process in processes] == [version] * 3
    entry = {"kind": "policy-changed", "time": rfc3339(NOW), "version": version, "text": POLICY}
    assert watching.recorded() == [entry]


def test_a_change(watching: Watching) -> None:
    """A changed file counts at the second look, in every process, and is recorded once with its text."""
    processes = [watching.process() for _ in range(2)]
    version = watching.write(OTHER)
    before = loads("loaded")
    settle(*processes)
    assert [process().version for process in processes] == [version] * 2
    assert [entry["text"] for entry in watching.recorded()] == [POLICY, OTHER]
    assert loads("loaded") == before + 2
    settle(*processes)
    assert len(watching.recorded()) == 2


def test_many_processes_that_see_a_change_at_once(watching: Watching) -> None:
    """Eight that race to record the same change leave one entry, and none goes without the change."""
    processes = [watching.process() for _ in range(8)]
    version, start = watching.write(OTHER), Barrier(8)

    def look_twice(number: int) -> None:
        start.wait(10)
        settle(processes[number])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look_twice, range(8)))
    for process in processes:  # who found the ledger locked takes it at the next look
        process.check()
    assert {process().version for process in processes} == {version}
    assert watching.versions() == [version_of(POLICY.encode()), version]


def test_there_and_back(watching: Watching) -> None:
    """A policy that comes back is a change too: three entries, the first and the last of one version."""
    processes = [watching.process() for _ in range(2)]
    for text in (OTHER, POLICY):
        watching.write(text)
        settle(*processes)
    assert [entry["text"] for entry in watching.recorded()] == [POLICY, OTHER, POLICY]


def test_a_file_that_is_being_written(watching: Watching) -> None:
    """What stands in the file for one look alone counts for nothing, good or bad: half a file may be good."""
    process = watching.process()
    version, before = process().version, loads("refused")
    for text in (OTHER, "", THIRD, "profiles: [", POLICY):
        watching.write(text)
        process.check()
        assert (process().version, refused()) == (version, 0)
    settle(process)
    assert len(watching.recorded()) == 1
    assert loads("refused") == before


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_file(watching: Watching, text: Text, caplog: pytest.LogCaptureFixture) -> None:
    """A bad file changes nothing; it is logged and counted once, and the metric says 1 until it is good again."""
    process = watching.process()
    version, before = process().version, loads("refused")
    watching.write(text)
    for _ in range(4):
        settle(process)
    assert (process().version, refused(), loads("refused")) == (version, 1, before + 1)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == ["policy file refused, the last good one stays"]
    assert str(watching.file) in vars(errors[0])["problem"]
    assert len(watching.recorded()) == 1
    watching.write(OTHER)
    settle(process)
    assert (process().version, refused()) == (version_of(OTHER.encode()), 0)


def test_the_same_good_file_after_a_bad_one(watching: Watching) -> None:
    """The old text put back is good at once and no change; bad again, it is told again."""
    process = watching.process()
    before = loads("refused")
    for _ in range(2):
        watching.write(BAD["no YAML"])
        settle(process)
        assert refused() == 1
        watching.write(POLICY)
        settle(process)
        assert refused() == 0
    assert loads("refused") == before + 2
    assert len(watching.recorded()) == 1


def _away(file: Path) -> None:
    file.unlink()


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


@pytest.mark.parametrize("spoil", [_away, _folder, _loop])
def test_a_file_that_cannot_be_read(watching: Watching, spoil: object) -> None:
    """A file that is gone, or no file, is as a bad one; when it is back the metric goes back too."""
    process = watching.process()
    spoil(watching.file)  # type: ignore[operator]  # each of the three
    settle(process)
    assert (process().version, refused()) == (version_of(POLICY.encode()), 1)
    watching.file.rmdir() if watching.file.is_dir() else watching.file.unlink(missing_ok=True)
    watching.write(POLICY)
    settle(process)
    assert refused() == 0
    assert len(watching.recorded()) == 1


def test_a_file_replaced_by_rename(watching: Watching) -> None:
    """A new file moved over the old one, of the same size and time, counts as well."""
    process = watching.process()
    times = watching.file.stat()
    same_size = POLICY.replace("viewers", "VIEWERS")
    beside = watching.file.with_suffix(".new")
    beside.write_text(same_size)
    os.utime(beside, ns=(times.st_atime_ns, times.st_mtime_ns))
    beside.replace(watching.file)
    settle(process)
    assert process().version == version_of(same_size.encode())


def test_a_file_of_a_config_map(watching: Watching) -> None:
    """A symbolic link through `..data` that is turned to another folder counts, as the kubelet does it."""
    folder = watching.file.parent / "mounted"
    folder.mkdir()
    for name, text in (("..1", POLICY), ("..2", OTHER)):
        (folder / name).mkdir()
        (folder / name / "policy.yaml").write_text(text)
    (folder / "..data").symlink_to("..1")
    (folder / "policy.yaml").symlink_to("..data/policy.yaml")
    mounted = Watching(file=folder / "policy.yaml", adapter=watching.adapter)
    process = mounted.process()
    (folder / "..data_tmp").symlink_to("..2")
    (folder / "..data_tmp").replace(folder / "..data")
    settle(process)
    assert process().version == version_of(OTHER.encode())


def test_a_change_that_cannot_be_recorded(watching: Watching, caplog: pytest.LogCaptureFixture) -> None:
    """While the ledger is locked a good change does not count, which is told once; then it is taken."""
    process = watching.process()
    version, before = process().version, loads("refused")
    watching.write(OTHER)
    with watching.adapter.held():
        settle(process)
        process.check()
        assert (process().version, refused(), loads("refused")) == (version, 1, before + 1)
    process.check()
    assert (process().version, refused()) == (version_of(OTHER.encode()), 0)
    assert len(watching.recorded()) == 2
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert told == ["policy change cannot be recorded, the last good one stays"]


def test_a_start_with_a_bad_file(watching: Watching) -> None:
    """A process that starts while the file is bad takes the policy on record, and later the good file."""
    watching.process()
    watching.write(OTHER)
    settle(watching.process())
    watching.write(BAD["system:masters"])
    process = watching.process()
    assert (process().version, refused()) == (version_of(OTHER.encode()), 1)
    assert [profile.name for profile in process().profiles] == ["developers", "monitoring", "nothing"]
    watching.write(OTHER)
    settle(process)
    assert refused() == 0
    assert len(watching.recorded()) == 2


def test_a_start_while_the_change_cannot_be_recorded(watching: Watching) -> None:
    """A process that starts with a change that cannot be recorded takes the policy on record until it can."""
    old = watching.process()().version
    watching.write(OTHER)
    with watching.adapter.held():
        process = watching.process()
        assert (process().version, refused()) == (old, 1)
    settle(process)
    assert (process().version, refused()) == (version_of(OTHER.encode()), 0)


def test_nothing_to_start_with(watching: Watching) -> None:
    """Without a good file and without a policy on record there is no process."""
    watching.write(BAD["no YAML"])
    with pytest.raises(ConfigurationError, match=r"policy\.yaml"):
        watching.process()
    watching.write(POLICY)
    with watching.adapter.held(), pytest.raises(LedgerUnavailable):
        watching.process()
    assert watching.recorded() == []


@pytest.mark.parametrize("text", [POLICY.replace("\n", "\r\n"), "# é ü 漢 🔒\n" + POLICY])
def test_any_text_comes_back_from_the_record(watching: Watching, text: str) -> None:
    """Whatever a good file holds, the policy on record has the version that the file had."""
    version = watching.write(text)
    watching.process()
    watching.write("")
    assert watching.process()().version == version


def test_a_decision_names_the_policy_that_it_was_made_under(watching: Watching) -> None:
    """Before and after a change, granted or refused, each entry names the version that decided."""
    process = watching.process()
    desk = Desk(watching.adapter.open())
    issue = type(desk.issuance)(
        current_policy=process,
        issuer=desk.issuance.issuer,
        ledger=desk.issuance.ledger,
        clock=lambda: NOW,
        draw_serial=desk.issuance.draw_serial,
        draw_name=desk.issuance.draw_name,
    ).issue
    first = issue(submission(good_csr()), requester()).entry
    watching.write(OTHER)
    settle(process)
    with pytest.raises(RequestRefused):
        issue(submission(good_csr()), requester())
    assert first.fields["policy"] == version_of(POLICY.encode())
    assert watching.recorded()[-1]["policy"] == version_of(OTHER.encode())
    last = watching.last()
    assert last is not None
    assert last.fields["version"] == watching.recorded()[-1]["policy"]
