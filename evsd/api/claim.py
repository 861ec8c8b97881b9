"""A caller's proof of who it is, which goes to evsd-keys with the first thing that is asked there.

Only evsd-keys can say whether a signature is right. To ask for that alone, and then for what the
request is about, takes twice the time. So where a route can do nothing but ask evsd-keys, evsd
takes the caller for who it would be, and asks both at once: evsd-keys carries out nothing before it
has found the signature right, and nothing is answered to anybody before that is known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from evsd.errors import PublishedError
from evsd.key_channel.call import Call
from evsd.key_channel.operation import Answer, Request
from evsd.key_client.messages import First
from evsd.key_client.process import KeyProcess

Dependency = TypeVar("Dependency", bound=Callable[..., object])


def only_asks(dependency: Dependency) -> Dependency:
    """Mark what a route may be given before its caller is known: it has no effect by itself."""
    dependency.only_asks = True  # type: ignore[attr-defined]
    return dependency


class Claim:
    """Stands for evsd-keys until it has said that the caller is who it says."""

    def __init__(
        self,
        keys: KeyProcess,
        first: First,
        on_refusal: Callable[[PublishedError], Awaitable[None]],
    ) -> None:
        """`on_refusal` hears of a false one before it is answered."""
        self._keys, self._first, self._on_refusal = keys, first, on_refusal
        self.refusal: PublishedError | None = None

    async def ask(self, call: Call, request: Request[Answer]) -> Answer:
        """Have evsd-keys carry out what is asked for, if the claim is true."""
        if self._first.passed:
            return await self._keys.ask(call, request)
        try:
            return await self._keys.ask(call, request, self._first)
        except PublishedError as error:
            if not self._first.passed:
                await self._refused(error)
            raise

    async def settle(self) -> None:
        """See to it that it is true, whether or not anything else was asked; raises its refusal."""
        if self.refusal is not None:
            raise self.refusal
        if self._first.passed:
            return
        try:
            found = await self._keys.ask(self._first.call, self._first.request, self._first)
        except PublishedError as error:
            await self._refused(error)
            raise
        assert found == self._first.expected  # noqa: S101 - or the first would not have passed

    async def _refused(self, error: PublishedError) -> None:
        self.refusal = error
        await self._on_refusal(error)
