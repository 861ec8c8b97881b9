"""What keeps an image from being read, written or copied; whoever asked says it in its own way."""

from __future__ import annotations


class ImageError(Exception):
    """`name` is what it is about, `state` is how that is, `remedy` is what helps.

    As text it is the first two. Remedies are for people who have evsctl.
    """

    def __init__(
        self, name: object, state: str, remedy: str = "", *, between: str = " "
    ) -> None:  # fmt: skip
        self.name, self.state, self.remedy = str(name), state, remedy
        super().__init__(f"{name}{between}{state}")


class FormatAmbiguous(ImageError):
    """Only whoever made the image can say what it is."""


class WrongPassphrase(ImageError):
    """A LUKS file is not opened by it."""

    def __init__(self) -> None:
        super().__init__("the passphrase", "opens no slot of the LUKS file")


class ToolMissing(ImageError):
    """A tool that does the work is not there."""

    def __init__(self, tool: str, package: str) -> None:
        super().__init__(tool, "is not installed", f"apt-get install {package}")


class ToolFailed(ImageError):
    """A tool ended with an error: `said` is all that it said, `state` the last line of that."""

    def __init__(self, tool: str, status: int, said: str) -> None:
        last = (said.splitlines() or ["it ended without a word"])[-1]
        super().__init__(tool, last.removeprefix(f"{tool}: "), between=": ")
        self.status, self.said = status, said
