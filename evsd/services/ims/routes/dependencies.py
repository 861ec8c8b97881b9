"""What the routes work with."""

from __future__ import annotations

from typing import Annotated

from evsd.api.routes import uses
from evsd.services.ims.service import ImsService

UsesIms = Annotated[ImsService, uses(ImsService)]
