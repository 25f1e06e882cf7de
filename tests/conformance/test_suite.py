"""The suite that ``arbench check`` runs on a package, on every registered method."""

import pytest

pytest.register_assert_rewrite("harness.conformance")

from harness.conformance.test_capture import *  # noqa: E402, F403
from harness.conformance.test_knobs import *  # noqa: E402, F403
from harness.conformance.test_methods import *  # noqa: E402, F403
from harness.conformance.test_steps import *  # noqa: E402, F403
