"""Where the chart keeps the record, who signs it and who watches it; and what of that it refuses."""

from pathlib import Path
from typing import Any

import pytest

from commands.cli import kubemint
from deploy.chart import Chart, ChartRefusedError
from deploy.mounts import Mounted, lay_out

URL = "postgresql://kubemint@db.example/record"
CA = {"name": "record-ca", "key": "ca.crt"}
WITNESS = {
    "key": "near.example+45c7b8e3+BCkU17eLfHWs0/JZxk7xmVeNhNlXF7qvTShNVh8nfbW/",
    "url": "https://near.example",
}
ON_POSTGRES = {"ledger.postgres.url": URL, "ledger.postgres.caConfigMap.name": "record-ca"}
VALUES = ("minimal", "certificates-only", "token-issuers", "full")

MISTAKES: tuple[tuple[dict[str, Any], str], ...] = (
    # What has no default.
    ({"log.existingSecret": ""}, "log.existingSecret: name the Secret"),
    ({"log.origin": ""}, "log.origin: name the log, for ever"),
    # More than one writer of a file, and records in two places.
    ({"replicas": 2}, "replicas must be 1: the ledger is a SQLite file"),
    ({**ON_POSTGRES, "replicas": 0}, "replicas must be 1 or more"),
    ({**ON_POSTGRES, "ledger.sqlite.existingClaim": "the-record"}, "take sqlite.existingClaim away"),
    ({"ledger.postgres.passwordSecret.name": "p"}, "there is no url that passwordSecret"),
    ({"ledger.postgres.caConfigMap.name": "c"}, "there is no url that passwordSecret"),
    # A server that could be anybody, and a password where every reader of the release would find it.
    ({"ledger.postgres.url": URL}, "name the CA of the server in caConfigMap"),
    ({"ledger.postgres.url": f"{URL}?target_session_attrs=any"}, "name the CA of the server in caConfigMap"),
    ({**ON_POSTGRES, "ledger.postgres.url": f"{URL}?sslrootcert=/x"}, "caConfigMap names another"),
    ({**ON_POSTGRES, "ledger.postgres.url": "postgresql://a:secret@db/x"}, "holds a password"),
    ({**ON_POSTGRES, "ledger.postgres.url": "mysql://db/x"}, "/ledger/postgres/url"),
    ({**ON_POSTGRES, "ledger.postgres.url": "postgresql://db.example"}, "/ledger/postgres/url"),
    ({**ON_POSTGRES, "ledger.postgres.url": f"{URL}\nevil: true"}, "/ledger/postgres/url"),
    ({"ledger.postgres.password": "secret"}, "'password' not allowed"),
    # A key in the values.
    ({"log.key": "-----BEGIN PRIVATE KEY-----"}, "'key' not allowed"),
    # Wrong names, kinds and ranges.
    ({"ledger.url": URL}, "'url' not allowed"),
    ({"ledger.existingClaim": "the-record"}, "'existingClaim' not allowed"),
    ({"ledger.sqlite.size": "one gigabyte"}, "/ledger/sqlite/size"),
    ({"ledger.sqlite.accessModes": ["ReadWriteMany"]}, "/ledger/sqlite/accessModes/0"),
    ({"ledger.retention": "90"}, "/ledger/retention"),
    ({"ledger.lockWait": ""}, "/ledger/lockWait"),
    ({"ledger.archive.existingClaim": "Old Entries"}, "/ledger/archive/existingClaim"),
    ({"log.origin": "our log"}, "/log/origin"),
    ({"log.origin": "our+log"}, "/log/origin"),
    ({"log.public": "yes"}, "/log/public"),
    ({"log.formerKeys": ["near.example"]}, "/log/formerKeys/0"),
    ({"log.witnesses": [{"key": WITNESS["key"]}]}, "url"),
    ({"log.witnesses": [{"url": WITNESS["url"]}]}, "key"),
    ({"log.witnesses": [{**WITNESS, "url": "http://near.example"}]}, "/log/witnesses/0/url"),
    ({"log.witnesses": [{**WITNESS, "caFile": "/ca.crt"}]}, "'caFile' not allowed"),
    ({"log.anchors": [{}]}, "log.anchors: number 0 must have one of"),
    ({"log.anchors": [{"url": "https://a.example", "existingClaim": "a"}]}, "number 0 must have one of"),
    ({"log.anchors": [{"file": "/var/lib/kubemint/x"}]}, "'file' not allowed"),
    (
        {"log.anchors": [{"existingClaim": "a", "certificateAuthority": {"existingConfigMap": "b"}}]},
        "number 0 is a file",
    ),
)


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_mistake_is_refused_by_name(chart: Chart, changes: dict[str, Any], message: str) -> None:
    """Nothing is rendered, and the message names what is wrong."""
    with pytest.raises(ChartRefusedError) as refusal:
        chart.render(changes=changes)
    assert message in str(refusal.value)


def test_ledger_is_on_the_volume(chart: Chart, mounted: Mounted) -> None:
    """Without a database the service keeps its ledger on the mounted volume."""
    assert mounted(chart.render()).ledger.url.database == "/var/lib/kubemint/ledger.db"


def test_one_pod_writes_a_file(chart: Chart) -> None:
    """On SQLite there is one replica, and the old pod ends before the new one starts."""
    objects = chart.render()
    specification = objects.one("Deployment")["spec"]
    assert specification["replicas"] == 1
    assert specification["strategy"] == {"type": "Recreate"}
    assert "topologySpreadConstraints" not in objects.pod()
    assert "PodDisruptionBudget" not in objects.kinds()


def test_record_outlives_the_release(chart: Chart) -> None:
    """`helm uninstall` does not delete the volume with the record."""
    claim = chart.render().one("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    assert chart.render().volume("ledger")["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_claim_as_it_was_asked_for(chart: Chart) -> None:
    """Size, storage class and access modes are those of the values."""
    assert chart.render("token-issuers").one("PersistentVolumeClaim")["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "storageClassName": "fast-local",
        "resources": {"requests": {"storage": "20Gi"}},
    }


def test_existing_claim_is_used(chart: Chart) -> None:
    """With a claim that exists, the chart makes none."""
    objects = chart.render("certificates-only")
    assert "PersistentVolumeClaim" not in objects.kinds()
    assert objects.volume("ledger")["persistentVolumeClaim"] == {"claimName": "the-record"}


def test_several_pods_share_a_database(chart: Chart) -> None:
    """On PostgreSQL there are as many replicas as wanted; no moment is without one, and none has a volume."""
    objects = chart.render("full")
    specification = objects.one("Deployment")["spec"]
    assert specification["replicas"] == 3
    assert specification["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    labels = specification["selector"]["matchLabels"]
    budget = objects.one("PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["selector"]["matchLabels"]) == (1, labels)
    (spread,) = objects.pod()["topologySpreadConstraints"]
    assert (spread["whenUnsatisfiable"], spread["labelSelector"]["matchLabels"]) == ("ScheduleAnyway", labels)
    assert "PersistentVolumeClaim" not in objects.kinds()
    assert "ledger" not in {volume["name"] for volume in objects.pod()["volumes"]}


def test_one_pod_on_a_database(chart: Chart) -> None:
    """One replica is enough on PostgreSQL too; nodes can be drained then."""
    objects = chart.render(changes=ON_POSTGRES)
    assert objects.one("Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"
    assert not {"PodDisruptionBudget", "PersistentVolumeClaim"} & set(objects.kinds())


def test_service_means_what_the_values_say(chart: Chart, mounted: Mounted) -> None:
    """Database, password, patience, retention, archive, witnesses and anchors are the service's, file by file."""
    loaded = mounted(chart.render("full"))
    place, log = loaded.ledger, loaded.log
    assert (place.url.host, place.url.port, place.url.database) == ("db.example", 5433, "record")
    assert place.url.query.keys() == {"target_session_attrs", "sslrootcert"}
    assert (str(place.lock_wait), str(place.statement_timeout)) == ("0:00:03", "0:00:10")
    assert place.retention is not None
    assert (place.retention.days, str(place.archive)) == (90, "/var/lib/kubemint-archive")
    assert (log.origin, log.public, len(log.former_keys)) == ("mint.example/log", True, 1)
    near, far = log.witnesses
    assert (near.url, near.required, near.ca_file is None) == ("https://near.example:8444/w", True, False)
    assert (far.url, far.required, far.ca_file) == ("https://far.example", False, None)
    sent, written = log.anchors
    assert (sent.url, sent.file, sent.ca_file is None) == ("https://anchor.example/checkpoint", None, False)
    assert (written.url, str(written.file)) == (None, "/var/lib/kubemint-anchors/1/checkpoint")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (URL, f"{URL}?sslrootcert=/run/kubemint/database-ca/ca.crt"),
        (f"{URL}?sslmode=verify-ca", f"{URL}?sslmode=verify-ca&sslrootcert=/run/kubemint/database-ca/ca.crt"),
    ],
)
def test_server_is_known_by_its_ca(chart: Chart, given: str, told: str) -> None:
    """The CA in the ConfigMap is the one by which the database's server proves who it is."""
    changes = {"ledger.postgres.url": given, "ledger.postgres.caConfigMap": CA}
    assert chart.render(changes=changes).file("kubemint.yaml")["ledger"]["url"] == told


def test_safety_can_be_said_in_the_address(chart: Chart) -> None:
    """An address that says how safe it is, such as that of a socket, needs no CA and is left as it is."""
    url = f"{URL}?sslmode=disable"
    objects = chart.render(changes={"ledger.postgres.url": url})
    assert objects.file("kubemint.yaml")["ledger"]["url"] == url
    assert not {"database", "database-ca"} & {volume["name"] for volume in objects.pod()["volumes"]}


def test_secrets_of_the_record(chart: Chart) -> None:
    """Of the Secrets only the named keys are mounted, and only the service's group may read them."""
    objects = chart.render("full")
    log, database = objects.volume("log")["secret"], objects.volume("database")["secret"]
    assert (log["secretName"], log["defaultMode"]) == ("minter-log", 0o440)
    assert {item["key"]: item["path"] for item in log["items"]} == {
        "log.pem": "log.key",
        "log-passphrase": "passphrase",
    }
    assert (database["secretName"], database["defaultMode"]) == ("record-password", 0o440)
    assert database["items"] == [{"key": "minter", "path": "password"}]


@pytest.mark.parametrize("values", VALUES)
def test_tables_are_brought_up_to_date_first(chart: Chart, values: str) -> None:
    """Before the service starts, the same image migrates the ledger, without the CA's key, TLS key or tokens."""
    objects = chart.render(values)
    migration, container = objects.migration(), objects.container()
    assert migration["args"] == ["ledger", "migrate", "--config", "/etc/kubemint/kubemint.yaml"]
    assert migration["image"] == container["image"]
    assert "startupProbe" not in migration
    mounted = {mount["name"]: mount for mount in migration["volumeMounts"]}
    assert mounted.items() <= {mount["name"]: mount for mount in container["volumeMounts"]}.items()
    assert {"configuration", "log"} <= mounted.keys()
    assert not {"issuer", "tls", "tokens", "identities", "kubeconfigs"} & mounted.keys()


@pytest.mark.parametrize("values", ["minimal", "certificates-only", "token-issuers"])
def test_migration_needs_no_more(chart: Chart, tmp_path: Path, values: str) -> None:
    """With the files of the init container alone the ledger is made; a second time changes nothing."""
    objects = chart.render(values, changes={"cluster.server": "https://203.0.113.10:6443"})
    file = lay_out(objects, objects.migration(), tmp_path)
    *command, _ = objects.migration()["args"]
    for _ in range(2):
        ran = kubemint(*command, file, cwd=tmp_path)
        assert (ran.code, ran.errors) == (0, "")
    assert (tmp_path / "var/lib/kubemint/ledger.db").stat().st_size > 0


@pytest.mark.parametrize(
    ("changes", "ports"),
    [
        ({}, []),
        (ON_POSTGRES, [5432]),
        ({**ON_POSTGRES, "ledger.postgres.url": "postgresql://k@db:6000/x"}, [6000]),
        ({**ON_POSTGRES, "ledger.postgres.url": "postgresql://k@[2001:db8::1]/x"}, [5432]),
        ({**ON_POSTGRES, "ledger.postgres.url": "postgresql:///x?host=db&port=6001"}, [6001]),
        ({**ON_POSTGRES, "networkPolicy.allowDatabase": False}, []),
        ({"log.witnesses": [WITNESS]}, [443]),
        ({"log.anchors": [{"url": "https://anchor.example:8443/c"}]}, [8443]),
        ({"log.anchors": [{"existingClaim": "write-once"}]}, []),
        ({**ON_POSTGRES, "log.witnesses": [WITNESS]}, [443, 5432]),
        ({"log.witnesses": [WITNESS], "networkPolicy.allowWitnesses": False}, []),
    ],
)
def test_way_out_is_open_as_far_as_needed(chart: Chart, changes: dict[str, Any], ports: list[int]) -> None:
    """The pod may reach the ports of its database, witnesses and anchors, and ask DNS for them; no others."""
    rules = chart.render(changes=changes).one("NetworkPolicy")["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in rules] == ([[53, 53], ports] if ports else [])


def test_notes_say_where_the_record_is(chart: Chart) -> None:
    """After the installation helm says where the record is, who signs it, and whether anybody watches."""
    alone, watched = chart.notes("minimal"), chart.notes("full")
    assert "in the PersistentVolumeClaim mint-kubemint" in alone
    assert "Nobody outside watches the log" in alone
    assert "is in postgresql://minter@db.example:5433/record" in watched
    assert "The log is mint.example/log" in watched
    assert "Nobody outside watches the log" not in watched
