"""``python -m airflow_provider_atlan_meta.cli``: ``atlan-meta`` without its script on PATH."""

from __future__ import annotations

import sys

from airflow_provider_atlan_meta.cli import main

sys.exit(main())
