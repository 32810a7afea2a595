"""The proxy: many nodes in, and for each set of permissions one address out."""

from .plan import Plan, make_plan
from .proxy import Proxy

__all__ = ["Plan", "Proxy", "make_plan"]
