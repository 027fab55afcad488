"""How often signing in may fail."""

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter


class SignInAttempts:
    """Failed attempts by user name and by address; successes do not count."""

    def __init__(self, by_name: int = 8, by_address: int = 40, minutes: int = 5) -> None:
        """So many failures in so many minutes, then the next is not even tried."""
        self._by_name = RateLimitItemPerMinute(by_name, minutes)
        self._by_address = RateLimitItemPerMinute(by_address, minutes)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def allowed(self, username: str, address: str) -> bool:
        """Whether one more attempt may be made."""
        return await self._limiter.test(self._by_name, "name", username.casefold()) and (
            await self._limiter.test(self._by_address, "address", address)
        )

    async def failed(self, username: str, address: str) -> None:
        """Count a failure."""
        await self._limiter.hit(self._by_name, "name", username.casefold())
        await self._limiter.hit(self._by_address, "address", address)
