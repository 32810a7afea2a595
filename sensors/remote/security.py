"""Raw frames go over encrypted links only, where anybody else could read them."""

from skelanon.sensors.endpoint import is_local
from skelanon.sensors.errors import LinkError


def refuse_open(endpoint: str, encrypted: bool, whose: str) -> None:
    """Raise LinkError where other machines can reach an endpoint and nothing is encrypted, or it is no endpoint."""
    if not is_local(endpoint, "endpoint") and not encrypted:
        raise LinkError(
            f"`endpoint` {endpoint} is not on this machine alone: raw frames go there with `curve` only. "
            f"Make keys for {whose} with: skelanon keys new NAME"
        )
