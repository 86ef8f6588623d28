"""The group that says a certificate's serial number, for API servers before 1.32; and names that are only ours."""

import base64
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from issuance.desk import policy
from kubemint.errors import ConfigurationError, RequestRefused, UnacceptableRequest
from kubemint.kubernetes.access_review import serials_of
from kubemint.ledger import tables
from kubemint.ledger.reader import Filter
from kubemint.record import Entry
from kubemint.requester import Method
from ledger.adapters import stored
from revoking.bureau import ASKER, HOUR, POLICY, Bureau

OWN = ("kubemint:", "kubemint:serial:7f", "KUBEMINT:serial:7f", "Kubemint:x")
ALIKE = (" kubemint:serial:7f", "kubemint:serial:7f ", "\u212aubemint:serial:7f")  # no CSR may hold them either


def _groups(entry: Entry) -> list[str]:
    certificate = x509.load_der_x509_certificate(base64.b64decode(entry.fields["certificate"]))
    return [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def _codes(bureau: Bureau, user: str, *groups: str, profile: str = "developers") -> list[str]:
    with pytest.raises(RequestRefused) as refused:
        bureau.issue(user, *groups, profile=profile)
    return [reason.code for reason in refused.value.reasons]


def test_a_certificate_says_its_own_serial_number(bureau: Bureau) -> None:
    """With credentialGroup a certificate has one group more, of its own serial number; without it, none."""
    marked = bureau.issue("jane", "developers", "viewers", profile="marked")
    own = f"kubemint:serial:{marked.fields['serialNumber']}"
    assert _groups(marked) == ["developers", "viewers", own]
    assert serials_of(_groups(marked)) == (marked.fields["serialNumber"],)
    assert _groups(bureau.issue("jane", "developers")) == ["developers"]
    assert _groups(bureau.issue("jane", profile="marked"))[0].startswith("kubemint:serial:")


def test_a_renewal_has_one_of_its_own(bureau: Bureau) -> None:
    """A renewal carries its own serial number, and not that of the one before; so does the one after it."""
    entry = bureau.issue("jane", "developers", profile="marked")
    for _ in range(3):
        bureau.now += HOUR / 2
        entry = bureau.issue("jane", "developers", by=bureau.holder(entry), profile="marked")
        assert _groups(entry) == ["developers", f"kubemint:serial:{entry.fields['serialNumber']}"]
        assert entry.fields["renews"]["groups"] == ["developers"]


def test_a_renewal_of_all_that_was_there(bureau: Bureau) -> None:
    """Who asks to renew with every group of the certificate in hand is refused the one that is only ours."""
    entry = bureau.issue("jane", "developers", profile="marked")
    holder = bureau.holder(entry)
    with pytest.raises(RequestRefused) as refused:
        bureau.issue("jane", *_groups(entry), by=holder, profile="marked")
    assert "name-forbidden" in [reason.code for reason in refused.value.reasons]


def test_as_many_groups_as_may_be(bureau: Bureau) -> None:
    """Beside as many groups as a CSR may have, there is room for one more."""
    names = tuple(f"group-{number}" for number in range(128))
    assert len(_groups(bureau.issue("jane", *names, profile="marked"))) == 129


def test_the_record_lists_no_such_group(bureau: Bureau) -> None:
    """By its serial number's group nothing is found: there would be a group for each certificate."""
    entry = bureau.issue("jane", "developers", profile="marked")
    own = f"kubemint:serial:{entry.fields['serialNumber']}"
    assert [row["group_name"] for row in stored(bureau.adapter, tables.entry_groups)] == ["developers"]
    assert bureau.reader.page(Filter(group=own), bureau.now, limit=9).entries == ()
    assert bureau.reader.page(Filter(group="developers"), bureau.now, limit=9).entries == (entry,)
    assert bureau.preview(group=own) == 0


@pytest.mark.parametrize("profile", ["developers", "marked", "admins"])
def test_names_that_are_ours(bureau: Bureau, profile: str) -> None:
    """Nobody gets a user or a group of our prefix, in whatever case; pattern `*` means none of them."""
    for name in OWN:
        assert "name-forbidden" in _codes(bureau, name, profile=profile), name
        assert "name-forbidden" in _codes(bureau, "jane", name, profile=profile), name
    for name in ALIKE:
        with pytest.raises(UnacceptableRequest):
            bureau.issue("jane", name, profile=profile)
    assert "issued" not in bureau.kinds()
    assert "requested" not in bureau.kinds()


@pytest.mark.parametrize(
    "line",
    [
        'users: ["{name}"]',
        'users: ["{name}*"]',
        'groups: ["{name}"]',
        'groups: ["{name}*"]',
        'groups: ["{name}"]\n    reserved: ["{name}"]',
        'required: ["{name}"]',
    ],
)
@pytest.mark.parametrize("name", [*OWN, *ALIKE])
def test_policies_that_name_them(line: str, name: str) -> None:
    """A policy that would give out such a name does not load."""
    text = """
apiVersion: kubemint/v1
kind: Policy
profiles:
  developers:
    requesters: [{token: requester}]
    lifetime: {default: 1h, max: 4h}
"""
    lines = {
        "users": "users: [jane]",
        "groups": "groups: [developers]",
        line.split(":", maxsplit=1)[0]: line.replace("{name}", name),
    }
    body = text + "".join(f"    {one}\n" for one in lines.values())
    good = text + "    users: [jane]\n    groups: [developers]\n"
    assert policy(good).profiles
    with pytest.raises(ConfigurationError):
        policy(body)


def test_a_claim_that_would_fill_one(bureau: Bureau) -> None:
    """A claim that fills a user's pattern with our prefix gives nobody such a name."""
    filled = POLICY.replace('users: ["*"]', 'users: ["*", "{claims.sub}"]', 1)
    bureau.policy = policy(
        filled.replace("{token: requester}, {token: other}", "{oidc: corp, claims: {sub: '*'}}", 1)
    )
    claimed = replace(ASKER, method=Method.OIDC, authority="corp", claims={"sub": "kubemint:serial:7f"})
    with pytest.raises(RequestRefused) as refused:
        bureau.issue("kubemint:serial:7f", by=claimed)
    assert "name-forbidden" in [reason.code for reason in refused.value.reasons]
