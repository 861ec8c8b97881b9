from evsd.policy import ONLY_OPERATOR, Permission, declare


class ToyPermission(Permission):
    MAKE = "toy:toys:create"


declare({ToyPermission.MAKE: ONLY_OPERATOR})
