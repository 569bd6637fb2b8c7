"""How long and how much a host may answer."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = """
options:
  answer_within:
    description: How long the host may take to answer a question, such as C(300s); then it is given up.
    type: str
    default: 300s
  answer_size:
    description: How much the host may answer, such as C(64M); at more than that it is given up.
    type: str
    default: 64M
"""
