"""Bodies have the bytes of REST framework's renderer, although another library writes them."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.renderers import JSONRenderer

from normalization.rendering import FastJSONRenderer
from normalization.stages import Stage

JSON = "application/json"
texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.sampled_from([None, UTC]))
    | st.sampled_from(Stage)
)
bodies = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner) | st.tuples(inner),
    max_leaves=12,
)


def rendered(renderer: JSONRenderer, data: Any, accepted: str = JSON) -> Any:
    try:
        return renderer.render(data, accepted, {})
    except (ValueError, TypeError) as error:
        return type(error)


@given(data=bodies)
def test_any_body_has_the_same_bytes(data: Any) -> None:
    assert rendered(FastJSONRenderer(), data) == rendered(JSONRenderer(), data)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [1e-4, 9.999e-5, 1e-7, 1e15, 1e16, 1e22, -0.0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308],
        [123456789012345.6, 9007199254740993, 2**63, 2**64, -(2**63) - 1],
        [float("nan")],
        {"deep": [{"x": (float("inf"),)}]},
        '\x00\x1f\x7f"\\/\b\f\n\r\t\u2028\u2029\x85 ü 😀 </script>',
        {7: "a", None: 2, True: 3, 1.5: 4, Stage.SEED: 5},
        [Stage.SERIES_C_PLUS, Decimal("1.10"), UUID(int=1), date(2026, 1, 2)],
        [datetime(2026, 1, 2, 3, 4, 5, 6_789, UTC), datetime(2026, 1, 2)],
        {"bytes": b"x", "set": {1}},
        "\ud800",
    ],
)
@pytest.mark.parametrize("accepted", [JSON, "application/json; indent=2"])
def test_special_values_have_the_same_bytes_or_the_same_error(data: Any, accepted: str) -> None:
    fast = rendered(FastJSONRenderer(), data, accepted)
    assert fast == rendered(JSONRenderer(), data, accepted)
