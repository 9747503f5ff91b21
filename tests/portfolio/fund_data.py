"""Many companies at once, for tests of plans and of speed.

Half of them are as an earlier release stored them, the others have their text in `stage_raw`.
"""

from django.db import connection

# Spellings as clients write them, with their percentages; the first of a stage is canonical.
MIXED_SPELLINGS = {
    "seed": 18,
    "Seed": 12,
    "Seed Round": 9,
    "SEED": 3,
    "series-a": 12,
    "Series A": 14,
    "SERIES_A": 4,
    "series-b": 6,
    "Series B": 8,
    "series-c": 2,
    "Series C": 3,
    "series-c+": 1,
    "Pre-Seed": 4,
    "Series D": 2,
    "Seires A": 1,
    "Venture": 1,
}

FILL = """
WITH spelling AS (
    SELECT array_agg(stage ORDER BY stage, copy) AS list
      FROM unnest(%(stages)s::text[], %(shares)s::int[]) AS given (stage, share),
           generate_series(1, share) AS copy
)
INSERT INTO portfolio_companies
       (fund_id, name, stage_raw, stage, status, sector, invested_usd, invested_at, created_at,
        updated_at)
SELECT (%(funds)s::bigint[])[1 + n %% cardinality(%(funds)s)], 'Company ' || (n * 7919 %% 1000003),
       CASE WHEN n / cardinality(%(funds)s) %% 2 = 0 THEN raw END,
       CASE WHEN n / cardinality(%(funds)s) %% 2 = 1 THEN raw END,
       (ARRAY['active', 'active', 'active', 'exited', 'written_off'])[1 + n %% 5],
       (ARRAY['Health', 'Climate', 'Fintech', ''])[1 + n / 3 %% 4], (n %% 900 + 100) * 1000.25,
       CASE WHEN n %% 7 > 0 THEN date '2015-01-01' + (n * 13 %% 4000)::int END, now(), now()
  FROM spelling, generate_series(0, %(companies)s - 1) AS n,
       LATERAL (SELECT list[1 + (n * 31 + n / cardinality(%(funds)s)) %% cardinality(list)] AS raw)
       AS text
"""


def fill(companies: int, funds: int, first: int = 0) -> list[int]:
    """Spread companies over new funds, numbered from `first`; return the funds' ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO portfolio_fund (name, created_at)"
            " SELECT 'Fund ' || n, now() FROM generate_series(%s, %s) AS n RETURNING id",
            [first + 1, first + funds],
        )
        ids = [row[0] for row in cursor.fetchall()]
        stages, shares = list(MIXED_SPELLINGS), list(MIXED_SPELLINGS.values())
        cursor.execute(
            FILL, {"stages": stages, "shares": shares, "funds": ids, "companies": companies}
        )
        cursor.execute("ANALYZE portfolio_companies")
    return ids
