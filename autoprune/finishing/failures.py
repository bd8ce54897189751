"""Whether all that was tried failed, and of what. Knows reasons; not who failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Failures:
    """What failed while a search was finished: reasons, and how many were tried."""

    reasons: list[str] = field(default_factory=list)
    tried: int = 0

    def add(self, reason: str) -> None:
        """One that was tried; reason: empty where it did not fail."""
        self.tried += 1
        self.reasons += [reason] if reason else []

    @property
    def all(self) -> str:
        """That everything failed, and its commonest cause; empty where something did not, or nothing was tried."""
        if not self.tried or len(self.reasons) < self.tried:
            return ""
        cause, count = Counter(self.reasons).most_common(1)[0]
        return f"all {self.tried} failed, {count} of them: {cause}" if self.tried > 1 else cause
