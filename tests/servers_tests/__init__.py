"""The test servers keep their word: tests of ``tests.servers``."""
