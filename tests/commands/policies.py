"""A policy and what belongs to it, as files beside each other."""

from pathlib import Path

POLICY = """\
apiVersion: kubemint/v1
kind: Policy
profiles:
  ci:
    requesters:
      - oidc: github
        claims: {repository: acme/shop}
    users: ["ci:{claims.repository}"]
    groups: [deployers]
    required: [pipelines]
    lifetime: {default: 10m, max: 1h}
  people:
    requesters: [{token: laptop}, {certificate: corp, commonName: jane}]
    users: [jane]
    groups: [developers]
    lifetime: {default: 1h, max: 8h}
    keys: [ecdsa-p256]
  pods:
    requesters: [{kubernetes: prod, namespace: ci, serviceAccount: builder}]
    users: ["pod:{claims.namespace}:{claims.name}"]
    lifetime: {default: 10m, max: 1h}
"""


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file of a folder."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file
