"""snapshots of volumes, and groups of them"""

import sqlalchemy as sa
from alembic import op

revision = "20261129_snapshots"
down_revision = "20261129_client_tokens"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "snapshot_groups",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("project_id", sa.String(64), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_snapshot_groups_project_id", "snapshot_groups", ["project_id"])
    op.create_table(
        "snapshots",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("project_id", sa.String(64), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("volume_id", sa.String(64), sa.ForeignKey("volumes.id"), nullable=False),
        sa.Column("group_id", sa.String(64), sa.ForeignKey("snapshot_groups.id"), nullable=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("size_gib", sa.Integer(), nullable=False),
        sa.Column("volume_type", sa.String(32), nullable=False),
        sa.Column("availability_zone", sa.String(64), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("cmk_id", sa.String(64), sa.ForeignKey("keys.id"), nullable=False),
        sa.Column("extra_metadata", sa.JSON(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("user_name", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
    )
    for column in ("project_id", "volume_id", "group_id", "status"):
        op.create_index(f"ix_snapshots_{column}", "snapshots", [column])
