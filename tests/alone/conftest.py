"""Tests that measure seconds: `nox -s tests` runs them last, one at a time. Pages are opened as in tests/browser."""

from tests.browser.conftest import browser, site, visit

__all__ = ["browser", "site", "visit"]
