"""which token the keys are on"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("check_value", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
