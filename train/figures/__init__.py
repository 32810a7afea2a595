"""The paper's figures, each as a picture and, beside it, as the numbers that are drawn.

"Anonymization for Skeleton Action Recognition" (arXiv 2111.15129), figures 3 to 6 and table 5.
"""

from .curves import draw_curves
from .ensemble_size import draw_ensemble_size
from .skeletons import draw_before_and_after
from .trade_off import draw_trade_off

__all__ = ["draw_before_and_after", "draw_curves", "draw_ensemble_size", "draw_trade_off"]
