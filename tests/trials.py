"""How many examples a property test tries, by the profile: `ci`, or what ``--hypothesis-profile thorough`` asks for."""

from typing import Any

from hypothesis import settings

__all__ = ["PROFILES", "trials"]

PROFILES = {"ci": 20, "thorough": 1000}
"""Name → examples, in hundredths of what a test asks for."""
for _name, _share in PROFILES.items():
    settings.register_profile(_name, max_examples=_share, deadline=None)


def trials(count: int, **options: Any) -> settings:
    """Settings of hypothesis with so many examples, times the profile's share; at least five."""
    return settings(max_examples=max(5, count * settings().max_examples // 100), deadline=None, **options)
