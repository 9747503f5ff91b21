"""The fund model of market-v2 once more, event by event in plain Python and with another random
stream.

It shares no code and no numbers with the engine; the tables are typed in again from the research.
Each company is followed through its events, and a fund is observed by asking every company at each
quarter's end.
"""

import math
import random
from dataclasses import dataclass, field

# stage: fail, modest, tail index, base exit years, graduates >= 1, graduates < 1, months to the
# round, next stage
STAGES = {
    "pre-seed": (0.67, 0.09, 1.25, 10.0, 0.80, 0.35, 18, "seed"),
    "seed": (0.61, 0.14, 1.25, 9.2, 0.80, 0.30, 22, "series-a"),
    "series-a": (0.51, 0.235, 1.35, 8.0, 0.70, 0.25, 24, "series-b"),
    "series-b": (0.40, 0.35, 1.55, 6.8, 0.55, 0.20, 24, "series-c"),
    "series-c": (0.33, 0.46, 1.75, 5.6, 0.45, 0.15, 20, "series-c+"),
    "series-c+": (0.28, 0.54, 1.95, 4.8, 0.35, 0.10, 17, "series-c+"),
}


def mean_winner(tail: float) -> float:
    """Integrate x times the density of a Pareto variable on [3, 1000] by the midpoint rule in log
    x.
    """
    steps = 20_000
    low, width = math.log(3.0), math.log(1000.0 / 3.0) / steps
    total = mass = 0.0
    for n in range(steps):
        x = math.exp(low + (n + 0.5) * width)
        density = x ** (-tail - 1.0) * x
        total += x * density
        mass += density
    return total / mass


def price_of_round(stage: str) -> float:
    """E[M | graduates] over E[M of the next stage]."""
    fail, modest, tail, _, above, below, _, following = STAGES[stage]
    winner = (1 - fail - modest) * mean_winner(tail)
    graduates = fail * below + (1 - fail) * above
    mean = (fail * below * 0.25 + above * (2 * modest + winner)) / graduates
    fail, modest, tail, *_ = STAGES[following]
    return mean / (fail * 0.25 + modest * 2 + (1 - fail - modest) * mean_winner(tail))


PRICES = {stage: price_of_round(stage) for stage in STAGES}


@dataclass
class Company:
    """One company: dates in years, money per unit of its first cheque."""

    bought: float
    exit: float
    proceeds: float
    graduates: bool
    round: float
    price: float
    follow_on: float = 0.0

    def mark(self, when: float) -> float:
        """Value of a unit of the first cheque before the exit."""
        if self.graduates and when <= self.round:
            return 1.0
        start, first = (self.round, self.price) if self.graduates else (self.bought, 1.0)
        done = (when - start) / (self.exit - start)
        return first + (self.proceeds - first) * done

    def claims(self, when: float) -> float:
        """Units of the first cheque that the fund holds."""
        bought_more = self.graduates and when > self.round
        return 1.0 + (self.follow_on / self.price if bought_more else 0.0)


@dataclass
class Fund:
    """What the limited partners of one fund see: a row for each quarter."""

    calls: list[float] = field(default_factory=list)
    returned: list[float] = field(default_factory=list)
    paid_in: list[float] = field(default_factory=list)
    net_cash: list[float] = field(default_factory=list)
    nav: list[float] = field(default_factory=list)
    gross: float = 0.0
    invested: float = 0.0

    @property
    def tvpi(self) -> float:
        """Net TVPI at the end."""
        return (self.net_cash[-1] + self.nav[-1]) / self.paid_in[-1]

    def irr(self) -> float:
        """Bisect the annual rate; calls are paid when the quarter begins, the rest when it
        ends.
        """
        flows = [0.0] * (len(self.calls) + 1)
        for quarter, (call, returned) in enumerate(zip(self.calls, self.returned, strict=True)):
            flows[quarter] -= call
            flows[quarter + 1] += returned
        flows[-1] += self.nav[-1]
        low, high = math.log(1e-6), math.log(1e4)
        for _ in range(50):
            middle = (low + high) / 2
            factor, worth = math.exp(-middle / 4), 0.0
            for flow in reversed(flows):
                worth = worth * factor + flow
            low, high = (middle, high) if worth > 0 else (low, middle)
        return math.expm1(low)


def company(luck: random.Random, stage: str, factor: float, bought: float) -> Company:
    """Draw one company."""
    fail, modest, tail, base, above, below, months, _ = STAGES[stage]
    dice = luck.random()
    if dice < fail:
        multiple, band = luck.random() ** 3, 0.6
    elif dice < fail + modest:
        multiple, band = luck.uniform(1, 3), 0.92
    else:
        lost = 1 - (3 / 1000) ** tail
        multiple = 3 * (1 - luck.random() * lost) ** (-1 / tail)
        band = 1.0 if multiple < 10 else 1.2 if multiple < 50 else 1.35
    holding = luck.uniform(0.5, 1.5) * base * band
    graduates = luck.random() < (above if multiple >= 1 else below)
    return Company(
        bought, bought + holding, multiple * factor, graduates, bought + months / 12, PRICES[stage]
    )


def fund(
    luck: random.Random,
    mix: dict[str, float],
    *,
    size: int,
    reserve: float,
    months: int,
    years: int,
    sigma: float,
) -> Fund:
    """Follow one fund, with fees of 2 % for 5 years, 0.9 times the year before until year 10, and
    20 % carry.
    """
    factor = math.exp(luck.gauss(0, sigma) - sigma**2 / 2)
    fees = [0.02 * 0.9 ** max(0, year - 4) for year in range(10)]
    investable = 1 - sum(fees)
    cheque = (1 - reserve) * investable / size
    stages = luck.choices(list(mix), list(mix.values()), k=size)
    bought = [(n + 0.5) * months / size / 12 for n in range(size)]
    companies = [
        company(luck, stage, factor, when)
        for stage, when in zip(stages, bought, strict=True)
        if when < years
    ]
    graduates = [one for one in companies if one.graduates]
    for one in graduates:
        one.follow_on = min(reserve * investable / len(graduates) / cheque, 3.0)
    return observe(companies, cheque, fees, years)


def observe(companies: list[Company], cheque: float, fees: list[float], years: int) -> Fund:
    """Add the companies up at the end of every quarter."""
    seen = Fund()
    paid_in = gross_cash = net_cash = 0.0
    for quarter in range(years * 4):
        begin, end = quarter / 4, (quarter + 1) / 4
        call = fees[quarter // 4] / 4 if quarter // 4 < len(fees) else 0.0
        value = 0.0
        for one in companies:
            invested = cheque if begin <= one.bought < end else 0.0
            if one.graduates and begin <= one.round < end:
                invested += cheque * one.follow_on
            call += invested
            seen.invested += invested
            if begin <= one.exit < end:
                gross_cash += cheque * one.claims(end) * one.proceeds
            elif one.bought < end <= one.exit:
                value += cheque * one.claims(end) * one.mark(end)
        paid_in += call
        kept = gross_cash - 0.2 * max(0.0, gross_cash - paid_in)
        total = gross_cash + value
        seen.calls.append(call)
        seen.returned.append(kept - net_cash)
        seen.paid_in.append(paid_in)
        seen.net_cash.append(kept)
        seen.nav.append(total - 0.2 * max(0.0, total - paid_in) - kept)
        net_cash = kept
    seen.gross = total
    return seen
