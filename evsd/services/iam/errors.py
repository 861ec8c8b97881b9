"""Every error of IAM: its published code, status, message and remedy."""

from __future__ import annotations

from evsd.errors import PublishedError


class IamForbidden(PublishedError):
    code, status = "IAM.0002", 403
    template = "{user} may not do {permission}"
    remedy_template = "ask a user with one of these roles: {roles}"


class IamRequestInvalid(PublishedError):
    code, status = "IAM.0011", 400
    template = "bad request: {field}: {reason}"


class IamNotFound(PublishedError):
    code, status = "IAM.0004", 404
    template = "{what} {name} does not exist"


class IamProjectNotFound(IamNotFound):
    template = "project {project_id} does not exist"


class IamExists(PublishedError):
    code, status = "IAM.0005", 409
    template = "{what} {name} exists already"


class UserFixed(PublishedError):
    code, status = "IAM.0002", 403
    template = "user {name} is a Unix user of the settings, which alone can change it"
    remedy_template = "change [unix_users] in evsd's settings and restart it"


class CredentialsTemporary(PublishedError):
    code, status = "IAM.0002", 403
    template = "{user} is signed in with temporary credentials, which make no others"
    remedy_template = "sign with a permanent access key"
