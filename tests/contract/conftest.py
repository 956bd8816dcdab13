"""The suites are imported, not collected: their asserts are rewritten all the same."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("contract.projection_ledger")
pytest.register_assert_rewrite(
    "contract.record_log", "contract.ledger", "contract.event_store", "contract.wide_rows"
)
pytest.register_assert_rewrite(
    "contract.destination",
    "contract.subscription_store",
    "contract.mapping_store",
    "contract.delivery_ledger",
    "contract.dead_letter_store",
)
