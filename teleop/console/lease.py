"""The one control lease: whose hand moves the robot.

At most one person holds it. It ends when the holder gives it back, leaves, or has been silent for two seconds; it is
never taken from a holder who is there. Only tele-operators may have it.
"""

from __future__ import annotations

__all__ = ["Lease"]

EXPIRY_S = 2.0


class Lease:
    """The lease. Not thread-safe; `Desk` guards it.

    Attributes:
        holder: Id of the person who holds it, "" for nobody.
    """

    def __init__(self) -> None:
        self.holder = ""
        self._heard = 0.0

    def take(self, person: str, now: float) -> str:
        """Ask for it; returns why not, or ""."""
        self.expire(now)
        if self.holder not in ("", person):
            return f"{self.holder} holds the control; it must be given back first"
        self.holder, self._heard = person, now
        return ""

    def give(self, person: str) -> bool:
        """Give it back; whether this person held it."""
        if self.holder != person or not person:
            return False
        self.holder = ""
        return True

    def heard(self, person: str, now: float) -> bool:
        """The person has been heard of; whether they hold it."""
        if self.holder != person or not person:
            return False
        self._heard = now
        return True

    def expire(self, now: float) -> None:
        """Take it from a holder who has been silent for too long."""
        if self.holder and now - self._heard > EXPIRY_S:
            self.holder = ""
