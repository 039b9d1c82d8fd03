"""What all tests share; importable without root, KVM, QEMU or the compiled engine."""

from hypothesis import settings

pytest_plugins = ["tests.harness.plugin", "tests.harness.xen_plugin", "tests.harness.together"]

# A deadline for each example would measure how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
