from typing import Annotated

from evsd.api.errors import Style
from evsd.api.routes import Caller, needs, router, uses

from .errors import ToyForbidden, ToyTaken
from .permissions import ToyPermission
from .service import ToyService

STYLE = Style(lambda e: {"toy": e.text}, ToyTaken, ToyTaken, ToyTaken, ToyForbidden, ToyForbidden)
ROUTERS = (router(STYLE, "Toys"),)


@ROUTERS[0].post("/v1/{project_id}/toys/{name}", **needs(ToyPermission.MAKE))
def make_toy(name: str, call: Caller, toys: Annotated[ToyService, uses(ToyService)]) -> str:
    return toys.make(call, name)
