"""an index for lists of many keys"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_keys_listed", "keys", ["project_id", "created_at", "id", "status"])
