"""requests that may be repeated; how many snapshots a project may have"""

import sqlalchemy as sa
from alembic import op

revision = "20261129_client_tokens"
down_revision = "20261129_hosts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    project = sa.ForeignKey("projects.id", ondelete="CASCADE")
    op.create_table(
        "client_tokens",
        sa.Column("project_id", sa.String(64), project, nullable=False),
        sa.Column("token", sa.String(36), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column(
            "job_id", sa.String(64), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "token"),
    )
    op.create_index("ix_client_tokens_created_at", "client_tokens", ["created_at"])
    op.add_column("quotas", sa.Column("snapshots", sa.Integer(), nullable=True))
