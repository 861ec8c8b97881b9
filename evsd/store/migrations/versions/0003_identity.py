"""users, groups and their roles; access keys of users, temporary ones too"""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

USERS = sa.table(
    "users",
    sa.column("id", sa.String),
    sa.column("domain_id", sa.String),
    sa.column("name", sa.String),
    sa.column("description", sa.String),
    sa.column("email", sa.String),
    sa.column("enabled", sa.Boolean),
    sa.column("from_settings", sa.Boolean),
    sa.column("created_at", sa.DateTime),
)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("domain_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("email", sa.String(length=255), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("from_settings", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("domain_id", "name"),
    )
    op.create_table(
        "groups",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("domain_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("domain_id", "name"),
    )
    op.create_table(
        "group_members",
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "user_id"),
    )
    op.create_index("ix_group_members_user_id", "group_members", ["user_id"])
    op.create_table(
        "group_roles",
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("target_id", sa.String(length=64), nullable=False),
        sa.Column("role_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "target_id", "role_id"),
    )
    _projects_and_agencies()
    _users_of_access_keys()


def _projects_and_agencies() -> None:
    # SQLite adds a column in place: a copy of a table that others refer to would lose their rows.
    op.add_column("projects", sa.Column("parent_id", sa.String(64), nullable=True))
    op.add_column(
        "projects", sa.Column("description", sa.String(255), nullable=False, server_default="")
    )
    op.add_column("agencies", sa.Column("expires_at", sa.DateTime(), nullable=True))


def _users_of_access_keys() -> None:
    """Users were known by name, as the settings have them; the next start enables those."""
    query = sa.text("SELECT DISTINCT domain_id, user_name FROM access_keys")
    op.bulk_insert(
        USERS,
        [
            {
                "id": uuid.uuid4().hex,
                "domain_id": domain_id,
                "name": name,
                "description": "",
                "email": "",
                "enabled": False,
                "from_settings": True,
                "created_at": datetime.now(UTC).replace(tzinfo=None),
            }
            for domain_id, name in op.get_bind().execute(query).fetchall()
        ],
    )
    op.create_table(
        "access_keys_of_users",
        sa.Column("access", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("agency_id", sa.String(length=64), nullable=True),
        sa.Column("wrapped_secret", sa.LargeBinary(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("last_used_at", sa.DateTime(), nullable=True),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("token_sha256", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("access"),
    )
    op.execute(
        sa.text(
            "INSERT INTO access_keys_of_users"
            " (access, user_id, wrapped_secret, active, description, created_at)"
            " SELECT k.access, u.id, k.wrapped_secret, :active, k.description, k.created_at"
            " FROM access_keys k JOIN users u ON u.domain_id = k.domain_id AND u.name = k.user_name"
        ).bindparams(sa.bindparam("active", True, sa.Boolean()))
    )
    op.drop_table("access_keys")
    op.rename_table("access_keys_of_users", "access_keys")
    op.create_index("ix_access_keys_user_id", "access_keys", ["user_id"])
    op.create_index("ix_access_keys_expires_at", "access_keys", ["expires_at"])
