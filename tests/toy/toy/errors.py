from evsd.errors import PublishedError


class ToyTaken(PublishedError):
    code, status = "TOY.0001", 409
    template = "there is a toy of this name"
    remedy_template = "choose another name"


class ToyForbidden(PublishedError):
    code, status = "TOY.0002", 403
    template = "{user} may not do {permission}"
