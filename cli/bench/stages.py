"""How long each stage of the way through the node takes, as the node's own status says."""

from collections.abc import Sequence

from skelanon.stream.latency import STAGES, Percentiles

from .figures import Figure, durations


def stage_figures(part: str, bundle: str, rounds: Sequence[dict[str, Percentiles]]) -> list[Figure]:
    """Percentiles of each stage. Of a frame that went through the model with others, `infer` is that of all."""
    return [
        durations(part, f"stage: {stage}", [(r[stage].p50, r[stage].p95, r[stage].p99) for r in rounds], bundle=bundle)
        for stage in STAGES
    ]
