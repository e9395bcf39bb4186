"""Properties are checked without a clock: the first example compiles numba's loops."""

from hypothesis import HealthCheck, settings

settings.register_profile("rankwell", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rankwell")
