"""`nox -s fuzz` takes the profile of this name; any other run takes a hundred examples each."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fuzz", max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck)
)
