"""in which boot an attachment's server was started"""

import sqlalchemy as sa
from alembic import op

from evsd.processes import boot_id

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attachments", sa.Column("server_boot", sa.String(36), nullable=True))
    # Of this one, as was taken for granted until now: whoever still serves must be known, or the
    # volume would get a second server.
    op.execute(
        sa.text(
            "UPDATE attachments SET server_boot = :boot WHERE server_pid IS NOT NULL"
        ).bindparams(boot=boot_id())
    )
