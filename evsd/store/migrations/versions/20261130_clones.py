"""volumes made from snapshots"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_clones"
down_revision = "20261130_bearer_tokens"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("volumes", sa.Column("snapshot_id", sa.String(64), nullable=True))
