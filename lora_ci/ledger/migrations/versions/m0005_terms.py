"""What whoever leads was told: lease.terms."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("lease", sa.Column("terms", sa.Text))
