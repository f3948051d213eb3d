pytest_plugins = ["tests.cloud.fixtures"]
