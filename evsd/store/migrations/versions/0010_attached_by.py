"""who has attached a volume, and the Unix user that may open its socket"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attachments", sa.Column("attached_by", sa.String(255), nullable=True))
    op.add_column("attachments", sa.Column("owner_uid", sa.Integer(), nullable=True))
