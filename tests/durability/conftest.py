from tests.store.conftest import postgres, settings  # noqa: F401  the same trials on both databases
