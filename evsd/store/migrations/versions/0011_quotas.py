"""how much a project may have"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    project = sa.ForeignKey("projects.id", ondelete="CASCADE")
    op.create_table(
        "quotas",
        sa.Column("project_id", sa.String(64), project, primary_key=True),
        sa.Column("volumes", sa.Integer, nullable=True),
        sa.Column("gigabytes", sa.Integer, nullable=True),
    )
