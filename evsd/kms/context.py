"""What a volume's data key is bound to."""


def encryption_context(project_id: str, volume_id: str) -> dict[str, str]:
    """The encryption context: the key unwraps for this volume of this project, for no other."""
    return {"project_id": project_id, "volume_id": volume_id}
