"""who may have which key, and what hangs on which, is registered with the KMS"""

import sqlalchemy as sa
from alembic import op

revision = "20261129_key_consumers"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    releases = op.create_table(
        "key_releases",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("service", sa.String(16), nullable=False),
        sa.Column("domain_id", sa.String(64), sa.ForeignKey("domains.id"), nullable=False),
        sa.Column("project_id", sa.String(64), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("principal", sa.String(255), nullable=False),
        sa.Column("key_id", sa.String(64), sa.ForeignKey("keys.id"), nullable=False),
        sa.Column("context", sa.JSON(), nullable=False),
        sa.Column("ticket_sha256", sa.String(64), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("boot", sa.String(36), nullable=False),
    )
    op.create_table(
        "key_dependents",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("project_id", sa.String(64), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("key_id", sa.String(64), sa.ForeignKey("keys.id"), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_key_dependents_key_id", "key_dependents", ["key_id"])
    op.execute(
        "INSERT INTO key_dependents (kind, id, name, project_id, key_id, since)"
        " SELECT 'volume', id, name, project_id, cmk_id, created_at FROM volumes"
    )
    op.bulk_insert(releases, _releases_of_attachments())
    op.drop_column("attachments", "ticket_sha256")


def _releases_of_attachments() -> list[dict[str, object]]:
    """Servers that run must get their keys again, with the tickets that they have."""
    found = op.get_bind().execute(
        sa.text(
            "SELECT attachments.id, projects.domain_id, volumes.project_id, volumes.user_name,"
            " volumes.cmk_id, volumes.id AS volume_id, ticket_sha256, server_pid, server_start,"
            " server_boot FROM attachments JOIN volumes ON volumes.id = attachments.volume_id"
            " JOIN projects ON projects.id = volumes.project_id WHERE ticket_sha256 IS NOT NULL"
            " AND server_pid IS NOT NULL AND server_start IS NOT NULL AND server_boot IS NOT NULL"
        )
    )
    return [
        {
            "id": row.id,
            "service": "evs",
            "domain_id": row.domain_id,
            "project_id": row.project_id,
            "principal": f"service:evs for {row.user_name}",
            "key_id": row.cmk_id,
            "context": {"project_id": row.project_id, "volume_id": row.volume_id},
            "ticket_sha256": row.ticket_sha256,
            "pid": row.server_pid,
            "start": row.server_start,
            "boot": row.server_boot,
        }
        for row in found
    ]
