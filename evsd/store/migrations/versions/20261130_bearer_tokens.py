"""tokens that act as a user for some time"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_bearer_tokens"
down_revision = "20261130_images"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bearer_tokens",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column(
            "user_id",
            sa.String(64),
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("access", sa.String(64), sa.ForeignKey("access_keys.access", ondelete="CASCADE")),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
    )
    for column in ("user_id", "access", "expires_at"):
        op.create_index(f"ix_bearer_tokens_{column}", "bearer_tokens", [column])
