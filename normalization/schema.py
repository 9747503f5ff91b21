"""What the OpenAPI document says about stages beyond what the serializers do."""

from typing import Any

from normalization.stages import Stage

STAGE_COMPONENT = "StageEnum"


def name_stages(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Give the six stages distinct names for code generators, and return the document.

    A generator makes names of values. It would name both `series-c` and `series-c+` SERIES_C, and
    the later one would win.
    """
    stages = result["components"]["schemas"].get(STAGE_COMPONENT)
    if stages is not None:
        stages["x-enum-varnames"] = [Stage(value).name for value in stages["enum"]]
    return result
