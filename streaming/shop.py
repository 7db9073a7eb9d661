"""A made-up shop: sales lines with the shape of real ones, the same for the same seed.

Orders follow the hours of the day, the days of the week and the run-up to Christmas. Customers move house
and change segment; lines are corrected after days, told late, returned, and sold to nobody known.
"""

import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from typing import Any

Line = dict[str, Any]

WEEKDAY_WEIGHTS = (0.9, 0.85, 0.9, 1.0, 1.3, 1.45, 0.6)
MONTH_WEIGHTS = (0.8, 0.8, 0.9, 0.95, 1.0, 1.0, 0.9, 0.9, 1.0, 1.05, 1.3, 1.5)
HOUR_WEIGHTS = (1, 1, 0, 0, 0, 1, 2, 4, 7, 9, 10, 11, 12, 10, 9, 9, 10, 12, 14, 15, 13, 9, 5, 2)
LINES_PER_ORDER = (1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6)
QUANTITIES = (1, 1, 1, 1, 2, 2, 3, 4, 6, 12)
SEGMENTS = ("consumer", "consumer", "consumer", "small_business", "enterprise")
# Country, its currency, units of that currency to the euro.
MARKETS = (
    ("Germany", "EUR", 1.0),
    ("France", "EUR", 1.0),
    ("Netherlands", "EUR", 1.0),
    ("Austria", "EUR", 1.0),
    ("United Kingdom", "GBP", 0.85),
    ("United States", "USD", 1.1),
    ("Switzerland", "CHF", 0.95),
    ("Sweden", "SEK", 11.3),
    ("Poland", "PLN", 4.3),
)
CATEGORIES = {
    "Coffee": (
        "Espresso beans 1 kg",
        "Filter coffee",
        "Decaf",
        "Cold brew",
        "Capsules",
        "Mocha pot",
        "Grinder",
    ),
    "Tea": ("Earl Grey", "Sencha", "Rooibos", "Chai", "Peppermint", "Teapot, cast iron", "Infuser", "Matcha"),
    "Kitchen": ("Chef's knife", "Cutting board", "Saucepan", "Whisk", "Kitchen scale", "Apron", "Salad bowl"),
    "Tableware": (
        'Mug "Café"',
        "Plate, 26 cm",
        "Soup bowl",
        "Water glass",
        "Carafe",
        "Napkins",
        "Jug",
        "Egg cup",
    ),
    "Garden": ("Planter", "Watering can", "Secateurs", "Seeds, herbs", "Bird house", "Lantern", "Gloves"),
    "Home": ("Cushion", "Wool blanket", "Candle", "Wall clock", "Picture frame", "Doormat", "Vase", "Mirror"),
    "Toys": ("Wooden train", "Building blocks", "Puzzle", "Teddy bear", "Kite", "Spinning top", "Card game"),
    "Stationery": (
        "Notebook",
        "Fountain pen",
        "Gift wrap",
        "Calendar",
        "Desk lamp",
        "Envelopes",
        "Stamp",
        "Ink",
    ),
}

UNKNOWN_CUSTOMER_SHARE = 0.04
CORRECTION_SHARE = 0.02
MOVING_CUSTOMER_SHARE = 0.2


@dataclass(frozen=True)
class Shares:
    """The share of lines that are returned later, and of those told one to three days late."""

    returns: float = 0.03
    late: float = 0.01


USUAL = Shares()


@dataclass(frozen=True)
class Product:
    """Something the shop sells; the price is in euros."""

    id: str
    name: str
    category: str
    price: float


def catalogue() -> list[Product]:
    """List the shop's 60 products, the same for every seed."""
    rng = random.Random("catalogue")  # noqa: S311
    names = [(name, category) for category, group in CATEGORIES.items() for name in group]
    return [
        Product(f"P{number:04}", name, category, round(rng.lognormvariate(2.6, 0.8) + 1, 2))
        for number, (name, category) in enumerate(names, start=1)
    ]


class Shop:
    """Sells `count` lines over `days` days from `start`; everything follows from `seed`."""

    def __init__(
        self, seed: int, count: int, start: date, days: int, source: str, shares: Shares = USUAL
    ) -> None:
        self.rng = random.Random(f"{source}-{seed}")  # noqa: S311
        self.source, self.start, self.days, self.shares = source, start, days, shares
        self.products = catalogue()
        self.product_weights = list(accumulate(1 / (rank + 2) for rank in range(len(self.products))))
        self.hour_weights = list(accumulate(HOUR_WEIGHTS))
        self.customers = [self._customer_history() for _ in range(max(20, count // 25))]
        self.targets = split(count, [_day_weight(start + timedelta(day)) for day in range(days)])
        # Shops of different seeds sell different orders.
        self.number_prefix = f"{start:%y%m}-{seed}-"
        self.orders = 0

    def _customer_history(self) -> list[tuple[int, str, int]]:
        # What is true of a customer from a day on: (day, segment, index of the market).
        rng = self.rng
        history = [(0, rng.choice(SEGMENTS), rng.randrange(len(MARKETS)))]
        while rng.random() < MOVING_CUSTOMER_SHARE:
            day, (_, segment, market) = rng.randrange(self.days), history[-1]
            if rng.random() < 0.5:
                segment = rng.choice(SEGMENTS)
            else:
                market = rng.randrange(len(MARKETS))
            history.append((day, segment, market))
        return sorted(history, key=lambda state: state[0])

    def sell(self) -> Iterator[list[Line]]:
        """Give, day by day, the lines that the source tells of on that day, in the order of telling."""
        told: dict[int, list[tuple[int, Line]]] = {}
        for day, target in enumerate(self.targets):
            today = told.setdefault(day, [])
            while len(today) < target:
                for told_on, second, line in self._order(day):
                    told.setdefault(told_on, []).append((second, line))
            told.pop(day)
            told.setdefault(day + 1, []).extend(today[target:])
            yield [line for _, line in sorted(today[:target], key=lambda entry: entry[0])]

    def _order(self, day: int) -> Iterator[tuple[int, int, Line]]:
        # One order's lines with the day and second at which each is told, and what later comes of them.
        rng = self.rng
        second = _draw(rng, self.hour_weights) * 3600 + rng.randrange(3600)
        customer = int(len(self.customers) * rng.random() ** 2)
        history = self.customers[customer]
        _, segment, market = history[bisect(history, day, key=lambda state: state[0]) - 1]
        country, currency, rate = MARKETS[market]
        known = rng.random() >= UNKNOWN_CUSTOMER_SHARE
        self.orders += 1
        moment = self._moment(day, second)
        for number in range(1, rng.choice(LINES_PER_ORDER) + 1):
            product = self.products[_draw(rng, self.product_weights)]
            line = {
                "source": self.source,
                "order_id": f"{self.number_prefix}{self.orders:07}",
                "line_number": number,
                "product_id": product.id,
                "product_name": product.name,
                "product_category": product.category,
                "customer_id": f"C{customer + 1:06}" if known else None,
                "customer_segment": segment if known else None,
                "country": country,
                "quantity": rng.choice(QUANTITIES),
                "unit_price": round(product.price * rate, 2),
                "currency": currency,
                "ordered_at": moment,
                "updated_at": moment,
            }
            late = rng.randint(1, 3) if rng.random() < self.shares.late else 0
            yield day + late, second, line
            yield from self._aftermath(day, second, line)

    def _aftermath(self, day: int, second: int, line: Line) -> Iterator[tuple[int, int, Line]]:
        chance = self.rng.random()
        if chance < CORRECTION_SHARE:
            later = day + self.rng.randint(1, 5)
            corrected = {"quantity": line["quantity"] + 1, "updated_at": self._moment(later, second)}
            yield later, second, line | corrected
        elif chance < CORRECTION_SHARE + self.shares.returns:
            later = day + self.rng.randint(1, 20)
            moment = self._moment(later, second)
            returned = {"order_id": f"{line['order_id']}-R", "quantity": -line["quantity"]}
            yield later, second, line | returned | {"ordered_at": moment, "updated_at": moment}

    def _moment(self, day: int, second: int) -> str:
        date_text = (self.start + timedelta(day)).isoformat()
        return f"{date_text}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


def split(total: int, weights: Sequence[float]) -> list[int]:
    """Divide a whole number in proportion to the weights; the parts add up to it."""
    bounds = [round(total * part / sum(weights)) for part in accumulate(weights)]
    return [end - begin for begin, end in zip([0, *bounds], bounds, strict=False)]


def _day_weight(day: date) -> float:
    return WEEKDAY_WEIGHTS[day.weekday()] * MONTH_WEIGHTS[day.month - 1]


def _draw(rng: random.Random, cumulated: list[float] | list[int]) -> int:
    # An index, by cumulated weights: what random.choices does, at a third of its cost.
    return bisect(cumulated, rng.random() * cumulated[-1], hi=len(cumulated) - 1)
