"""What all tests share; importable without root, KVM, QEMU or the compiled engine."""

pytest_plugins = ["tests.harness.plugin", "tests.harness.xen_plugin"]
