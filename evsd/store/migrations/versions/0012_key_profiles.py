"""how the token encrypts under each version of a key"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    profile = sa.Column("profile", sa.String(24), nullable=False, server_default="aes-gcm")
    op.add_column("key_versions", profile)
