"""Strategies to copy: each is shown in the documents, and runs in the tests."""
