"""Root of the test trees: `tests/` are perfgate's own tests, `perf_tests/` the suite that it runs."""

pytest_plugins = ["pytester"]
