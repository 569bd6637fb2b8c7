"""Ratios measured side by side in one run: `python -m tests.bench [NAME...]`. They inform; no test hangs on them."""
