from sqlalchemy.orm import Mapped, mapped_column

from evsd.store.tables import Base


class Toy(Base):
    __tablename__ = "toys"
    name: Mapped[str] = mapped_column(primary_key=True)
    whole: Mapped[bool] = mapped_column(default=False)
