"""The schema. `entries` is the truth; everything below it can be built again from the entries.

Columns named as they are in SQL; serial numbers and credential ids are kept as octets, times of
certificates as seconds since 1970 UTC.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata: Final = MetaData()

_Count: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite's row id must be called INTEGER

entries: Final = Table(
    "entries",
    metadata,
    Column("index", _Count, primary_key=True, autoincrement=False, comment="0, 1, 2, … without a gap"),
    Column("time", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="canonical JSON of the event"),
    Column("leaf_hash", LargeBinary, nullable=False, comment="RFC 6962 2.1, over body"),
    CheckConstraint("length(leaf_hash) = 32", name="leaf_hash_length"),
)

head: Final = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", _Count, nullable=False, comment="number of entries; the next index"),
    Column("frontier", LargeBinary, nullable=False, comment="roots of the complete subtrees, largest first"),
    Column("checkpoint", Text, nullable=False, comment="signed note of size and root"),
    Column("archived", _Count, nullable=False, comment="bodies of entries below this index are in the archive"),
    CheckConstraint("id = 1", name="head_one_row"),
)

tiles: Final = Table(
    "tiles",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("index", _Count, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False, comment="what the tile is in the one above it"),
    Column("hashes", LargeBinary, nullable=False, comment="256 hashes: C2SP tlog-tiles"),
    CheckConstraint("length(hashes) = 8192", name="tiles_are_full"),
)

witnessed: Final = Table(
    "witnessed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", _Count, nullable=False),
    Column("checkpoint", Text, nullable=False, comment="the newest with the cosignatures of witnesses"),
    CheckConstraint("id = 1", name="witnessed_one_row"),
)

heartbeat: Final = Table(
    "heartbeat",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("time", Text, nullable=False, comment="when a replica last proved that it can write"),
    CheckConstraint("id = 1", name="heartbeat_one_row"),
)

certificates: Final = Table(
    "certificates",
    metadata,
    Column("entry_index", _Count, ForeignKey("entries.index"), primary_key=True, autoincrement=False),
    Column("serial_number", LargeBinary, nullable=False),
    Column("credential_id", LargeBinary, nullable=False),
    Column("requester", Text, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("decided_at", _Count, nullable=False),
    Column("not_after", _Count, nullable=False),
    # On PostgreSQL a key of a partitioned table has the column that it is partitioned by (docs/decisions/0018).
    UniqueConstraint("serial_number").ddl_if(dialect="sqlite"),
    UniqueConstraint("credential_id").ddl_if(dialect="sqlite"),
    UniqueConstraint("serial_number", "not_after").ddl_if(dialect="postgresql"),
    UniqueConstraint("credential_id", "not_after").ddl_if(dialect="postgresql"),
    Column("public_key", LargeBinary, comment="SHA-256 of the SubjectPublicKeyInfo"),
    Column("twin_id", LargeBinary, comment="credential id of the same with its ECDSA signature rewritten"),
    Column("first_requester", Text, comment="of a renewal: who asked for the first certificate of its line"),
    Index("ix_certificates_not_after", "not_after"),
    Index("ix_certificates_user_name", "user_name", "entry_index"),
    Index("ix_certificates_requester", "requester", "entry_index"),
    Index(
        "ix_certificates_first_requester",
        "first_requester",
        "entry_index",
        sqlite_where=text("first_requester IS NOT NULL"),
        postgresql_where=text("first_requester IS NOT NULL"),
    ),
)

refusals: Final = Table(
    "refusals",
    metadata,
    Column("entry_index", _Count, ForeignKey("entries.index"), primary_key=True, autoincrement=False),
    Column("requester", Text, nullable=False),
    Column("user_name", Text),
    Column("profile", Text, comment="the one that was asked for"),
    Column("decided_at", _Count, nullable=False),
    Index("ix_refusals_requester", "requester", "entry_index"),
    Index("ix_refusals_user_name", "user_name", "entry_index"),
)

idempotency_keys: Final = Table(
    "idempotency_keys",
    metadata,
    Column("requester", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("entry_index", _Count, ForeignKey("entries.index"), nullable=False),
    sqlite_with_rowid=False,
)

entry_groups: Final = Table(
    "entry_groups",
    metadata,
    Column("group_name", Text, primary_key=True),
    Column("entry_index", _Count, ForeignKey("entries.index"), primary_key=True, autoincrement=False),
    Column("expires_at", _Count, nullable=False, comment="of the certificate or request; of a refusal, its time"),
    sqlite_with_rowid=False,
)

requests: Final = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("entry_index", _Count, ForeignKey("entries.index"), nullable=False, unique=True),
    Column("requester", Text, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("approvals", Integer, nullable=False, comment="those that came while it was pending"),
    Column("expires_at", _Count, nullable=False),
    Column("outcome_index", _Count, ForeignKey("entries.index"), comment="what ended it"),
    CheckConstraint("state IN ('pending', 'issued', 'denied')", name="requests_state"),
    Index("ix_requests_state", "state", "entry_index"),
    Index("ix_requests_requester", "requester", "entry_index"),
)

approvals: Final = Table(
    "approvals",
    metadata,
    Column("request", Text, ForeignKey("requests.id"), primary_key=True),
    Column("entry_index", _Count, ForeignKey("entries.index"), primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

token_uses: Final = Table(
    "token_uses",
    metadata,
    Column("authority", Text, primary_key=True),
    Column("token_id", Text, primary_key=True),
    Column("entry_index", _Count, ForeignKey("entries.index"), nullable=False, comment="the first use"),
    sqlite_with_rowid=False,
)

policies: Final = Table(
    "policies",
    metadata,
    Column("entry_index", _Count, ForeignKey("entries.index"), primary_key=True, autoincrement=False),
    Column("version", Text, nullable=False),
)

revocations: Final = Table(
    "revocations",
    metadata,
    Column("entry_index", _Count, ForeignKey("entries.index"), primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("revoked_at", _Count, nullable=False),
    Column("requester", Text, nullable=False),
    Column("lifted_index", _Count, ForeignKey("entries.index"), comment="what ended a hold"),
    Index("ix_revocations_lifted_index", "lifted_index"),
)

revoked_certificates: Final = Table(
    "revoked_certificates",
    metadata,
    Column("revocation_index", _Count, ForeignKey("entries.index"), primary_key=True, autoincrement=False),
    Column("certificate_index", _Count, ForeignKey("entries.index"), primary_key=True, autoincrement=False),
    Column("serial_number", LargeBinary, nullable=False),
    Column("credential_id", LargeBinary, nullable=False),
    Column("twin_id", LargeBinary),
    Column("not_after", _Count, nullable=False),
    Column("line", Text, comment="of a renewal: its requester, which all renewals of the line have"),
    Index("ix_revoked_certificates_certificate", "certificate_index"),
    Index("ix_revoked_certificates_serial_number", "serial_number"),
    Index("ix_revoked_certificates_credential_id", "credential_id"),
    Index("ix_revoked_certificates_twin_id", "twin_id"),
    Index(
        "ix_revoked_certificates_line",
        "line",
        sqlite_where=text("line IS NOT NULL"),
        postgresql_where=text("line IS NOT NULL"),
    ),
)

blocks: Final = Table(
    "blocks",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("value", LargeBinary, primary_key=True, comment="a name in UTF-8, or the SHA-256 of a public key"),
    Column("revocation_index", _Count, ForeignKey("entries.index"), primary_key=True, autoincrement=False),
    Column("until", _Count, comment="none: for ever"),
    CheckConstraint("kind IN ('user', 'group', 'key')", name="blocks_kind"),
    Index("ix_blocks_revocation_index", "revocation_index"),
    sqlite_with_rowid=False,
)

QUERY_TABLES: Final = (
    certificates,
    refusals,
    requests,
    approvals,
    token_uses,
    policies,
    idempotency_keys,
    entry_groups,
    revocations,
    revoked_certificates,
    blocks,
)
