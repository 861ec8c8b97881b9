"""versions, grants, tags and rotation of keys; the steady clock"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.Column("steady_since", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "grants",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("grantee", sa.String(length=64), nullable=False),
        sa.Column("grantee_type", sa.String(length=8), nullable=False),
        sa.Column("operations", sa.JSON(), nullable=False),
        sa.Column("issuer", sa.String(length=64), nullable=False),
        sa.Column("retiring_principal", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["keys.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("grants", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_grants_grantee"), ["grantee"], unique=False)
        batch_op.create_index(batch_op.f("ix_grants_key_id"), ["key_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_grants_retiring_principal"), ["retiring_principal"], unique=False
        )

    op.create_table(
        "key_tags",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=36), nullable=False),
        sa.Column("value", sa.String(length=43), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["keys.id"],
        ),
        sa.PrimaryKeyConstraint("key_id", "name"),
    )
    op.create_table(
        "key_versions",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("material_sha256", sa.String(length=64), nullable=True),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("gone_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["keys.id"],
        ),
        sa.PrimaryKeyConstraint("key_id", "version"),
    )
    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("origin", sa.String(length=16), server_default="kms", nullable=False)
        )
        batch_op.add_column(sa.Column("deletion_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("rotation_days", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("rotation_from", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("import_token_sha256", sa.String(length=64), nullable=True))
    op.execute(
        "INSERT INTO key_versions (key_id, version, created_at)"
        " SELECT id, version, created_at FROM keys"
    )
