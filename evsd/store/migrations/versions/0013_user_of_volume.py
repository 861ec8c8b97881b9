"""by the id of which user a volume was made"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("volumes", sa.Column("user_id", sa.String(64), nullable=False, server_default=""))
    # Whoever is no user any more, or acted as an agency, stays without one.
    op.execute(
        "UPDATE volumes SET user_id = coalesce((SELECT users.id FROM users"
        " JOIN projects ON projects.domain_id = users.domain_id"
        " WHERE projects.id = volumes.project_id AND users.name = volumes.user_name), '')"
    )
