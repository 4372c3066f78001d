"""What an installed perfgate gives to pytest: its plugin by name, so that one that is named beside it is the same."""

pytest_plugins = ["perfgate.plugin"]
