"""Where the record is kept, who signs it and who watches it: what loads, and what does not."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.files import CONFIGURATION, DELETED, changed, log_vkey, write
from kubemint import config
from kubemint.config_ledger import Anchor, LedgerPlace, Log, Witness
from kubemint.errors import ConfigurationError

POSTGRES = "postgresql://kubemint@db.example:5433/record?sslrootcert=/etc/kubemint/db.crt"
LOG = CONFIGURATION["log"]
LEDGER_MISTAKES: dict[str, tuple[str, Any, str]] = {
    "statementTimeout is a number": ("ledger.statementTimeout", 5, "ledger.statementTimeout: Must be a duration"),
    "retention of nothing": ("ledger.retention", "0d", "ledger.retention: '0d' is not a duration"),
    "an empty archive": ("ledger.archive", "", "ledger.archive: Must not be empty"),
    "a password for a file": ("ledger.passwordFile", "x", "ledger.passwordFile: A SQLite file has no password"),
}
LOG_MISTAKES: dict[str, tuple[str, Any, str]] = {
    "no log": ("log", DELETED, "log: Missing data"),
    "no key": ("log.key", DELETED, "log.key: Missing data"),
    "no origin": ("log.origin", DELETED, "log.origin: Missing data"),
    "a space in the origin": ("log.origin", "our log", "log.origin: Cannot name a log"),
    "a plus in the origin": ("log.origin", "our+log", "log.origin: Cannot name a log"),
    "public in words": ("log.public", "yes please", "log.public: Not a valid boolean"),
    "a former key that is none": ("log.formerKeys.0", "log+01234567+AAAA", "log.formerKeys.0: Is no public key"),
    "a former key of another ID": (
        "log.formerKeys.0",
        "x+00000000+" + log_vkey("x").rpartition("+")[2],
        "log.formerKeys.0: Is no public key",
    ),
    "former keys by name": ("log.formerKeys", {"a": "b"}, "log.formerKeys: Not a valid list"),
    "a witness without key": ("log.witnesses.0.key", DELETED, "log.witnesses.0.key: Missing data"),
    "a witness whose key is none": (
        "log.witnesses.0.key",
        "near.example",
        "log.witnesses.0.key: Is no public key",
    ),
    "a witness without address": ("log.witnesses.1.url", DELETED, "log.witnesses.1.url: Missing data"),
    "a witness at a file": ("log.witnesses.1.url", "file:///w", "log.witnesses.1.url: Must be https://"),
    "a witness perhaps required": (
        "log.witnesses.0.required",
        "perhaps",
        "log.witnesses.0.required: Not a valid boolean",
    ),
    "an unknown word of a witness": ("log.witnesses.0.colour", "blue", "log.witnesses.0.colour: Unknown field"),
    "an anchor nowhere": ("log.anchors.0.file", DELETED, "log.anchors.0: Must have a file or a url"),
    "an anchor at two places": (
        "log.anchors.0.url",
        "https://anchor.example",
        "log.anchors.0: Must have a file or a url",
    ),
    "an anchor without scheme": ("log.anchors.1.url", "anchor.example", "log.anchors.1.url: Must be https://"),
    "an unknown word of an anchor": ("log.anchors.0.colour", "blue", "log.anchors.0.colour: Unknown field"),
    "an unknown word of the log": ("log.colour", "blue", "log.colour: Unknown field"),
}


def loaded(tmp_path: Path, *changes: tuple[str, Any]) -> config.Config:
    """Load the configuration with these changes."""
    return config.load(write(tmp_path / "etc", changed(CONFIGURATION, *changes)))


def problems(tmp_path: Path, *changes: tuple[str, Any]) -> tuple[str, ...]:
    """Give what is wrong with a configuration that does not load."""
    with pytest.raises(ConfigurationError) as fault:
        loaded(tmp_path, *changes)
    return fault.value.problems


def test_every_setting_of_the_ledger(tmp_path: Path) -> None:
    """Each setting gets where it belongs, and relative paths are the file's folder's."""
    place = loaded(tmp_path).ledger
    assert place == LedgerPlace(
        url=place.url,
        password_file=None,
        lock_wait=timedelta(seconds=250),
        statement_timeout=timedelta(seconds=20),
        retention=timedelta(days=90),
        archive=tmp_path / "etc/data/archive",
    )
    assert (place.url.drivername, place.url.database) == ("sqlite", str(tmp_path / "etc/data/ledger.db"))


def test_every_setting_of_the_log(tmp_path: Path) -> None:
    """Each setting gets where it belongs: of witnesses and anchors too, in their order."""
    near, far = (witness["key"] for witness in LOG["witnesses"])
    here = tmp_path / "etc"
    assert loaded(tmp_path).log == Log(
        key_uri="file:log.key",
        passphrase_file=Path("/run/secrets/log-passphrase"),
        origin="kubemint.example/log",
        former_keys=tuple(LOG["formerKeys"]),
        public=True,
        witnesses=(
            Witness(key=near, url="https://near.example:8443/w", ca_file=None, required=True),
            Witness(key=far, url="https://far.example", ca_file=here / "lab.crt", required=False),
        ),
        anchors=(
            Anchor(file=Path("/mnt/elsewhere/checkpoint"), url=None, ca_file=None),
            Anchor(file=None, url="https://anchor.example/checkpoint", ca_file=here / "lab.crt"),
        ),
    )


def test_what_may_be_left_out(tmp_path: Path) -> None:
    """The address, and the log's key and name, are enough: nobody watches then, nothing is thrown away."""
    least = loaded(
        tmp_path,
        ("ledger", {"url": "sqlite:///ledger.db"}),
        ("log", {"key": "file:log.key", "origin": "kubemint.example/log"}),
    )
    assert (least.ledger.retention, least.ledger.archive) == (None, None)
    assert (least.log.passphrase_file, least.log.former_keys, least.log.public) == (None, (), False)
    assert (least.log.witnesses, least.log.anchors) == ((), ())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [*LEDGER_MISTAKES.values(), *LOG_MISTAKES.values()],
    ids=[*LEDGER_MISTAKES, *LOG_MISTAKES],
)
def test_each_mistake_has_its_path(tmp_path: Path, path: str, value: Any, said: str) -> None:
    """A mistake is told once, beginning with its path in the file, and nothing else is."""
    (problem,) = problems(tmp_path, (path, value))
    assert problem.startswith(said)


def test_a_ledger_on_postgres(tmp_path: Path) -> None:
    """A PostgreSQL database is named by user, host, port and database; the password is in a file beside it."""
    place = loaded(tmp_path, ("ledger.url", POSTGRES), ("ledger.passwordFile", "db.password")).ledger
    assert (place.url.drivername, place.url.username, place.url.host) == ("postgresql", "kubemint", "db.example")
    assert (place.url.port, place.url.database) == (5433, "record")
    assert place.url.query == {"sslrootcert": "/etc/kubemint/db.crt"}
    assert place.password_file == tmp_path / "etc/db.password"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://kubemint:secret@db.example/record", "ledger.url: Must hold no password"),
        ("postgresql://kubemint@db.example", "ledger.url: Must be sqlite:///FILE"),
        ("postgresql+psycopg://kubemint@db.example/record", "ledger.url: Must be sqlite:///FILE"),
        ("postgresql://db.example/record?options=-cfsync%3Doff", "ledger.url: Has parameters that are not known"),
        ("postgresql://db.example/record?passfile=/p", "ledger.url: Has parameters that are not known"),
    ],
)
def test_addresses_that_are_no_postgres(tmp_path: Path, url: str, said: str) -> None:
    """A password, no database, another driver and parameters that could weaken it are refused, unrepeated."""
    (problem,) = problems(tmp_path, ("ledger.url", url))
    assert problem.startswith(said)
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///ledger.db", "etc/ledger.db"),
        ("sqlite:///data/my ledger.db", "etc/data/my ledger.db"),
        ("sqlite:///../var/ledger.db", "etc/../var/ledger.db"),
        ("sqlite:////var/lib/kubemint/ledger.db", "/var/lib/kubemint/ledger.db"),
    ],
)
def test_addresses_of_a_ledger(tmp_path: Path, url: str, file: str) -> None:
    """Three slashes begin a path in the file's folder, four one from the root."""
    assert loaded(tmp_path, ("ledger.url", url)).ledger.url.database == str(tmp_path / file)


@pytest.mark.parametrize(
    "url",
    [
        "ledger.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///ledger.db?mode=ro",
        "sqlite:///file:ledger.db?mode=memory&uri=true",
        "sqlite+pysqlcipher:///ledger.db",
        "mysql://host/kubemint",
        "::",
    ],
)
def test_addresses_that_are_no_ledger(tmp_path: Path, url: str) -> None:
    """Anything else, options included, is refused with how it is written."""
    (problem,) = problems(tmp_path, ("ledger.url", url))
    assert problem.startswith("ledger.url: Must be sqlite:///FILE")


@pytest.mark.parametrize(
    "url", ["sqlite://host/ledger.db", "sqlite://user:secret@/ledger.db", "sqlite://h:1/l.db"]
)
def test_a_ledger_on_another_host(tmp_path: Path, url: str) -> None:
    """Two slashes name a host, which SQLite has none of: it is refused, and not taken for a file's folder."""
    (problem,) = problems(tmp_path, ("ledger.url", url))
    assert problem.startswith("ledger.url: Must be sqlite:///FILE")


def test_files_of_libpq_are_taken_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    """A relative path of a CA in the database's address must not depend on where the service is started."""
    url = "postgresql://kubemint@db.example/record?sslrootcert=db.crt&sslmode=verify-ca"
    place = loaded(tmp_path, ("ledger.url", url)).ledger
    assert place.url.query == {"sslrootcert": str(tmp_path / "etc/db.crt"), "sslmode": "verify-ca"}
