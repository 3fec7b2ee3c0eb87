"""A plugin of pytest: an example that fails is enough; nobody reads the smallest one."""

import hypothesis


def pytest_configure() -> None:
    """Change the profile that the suite has loaded, before a test is imported."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("unshrunk", deadline=None, phases=phases, database=None)
    hypothesis.settings.load_profile("unshrunk")
