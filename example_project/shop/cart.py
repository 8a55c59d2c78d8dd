"""The cart: a dict in the session, from product id to count.

Its lines are changed in place: nested changes are saved as long as the session is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from .models import Product

FIELD = "cart"
MOST = 99


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the cart."""

    product: Product
    count: int

    @property
    def total(self) -> str:
        """Price times count, as shown."""
        cents = self.product.price_cents * self.count
        return f"{cents // 100}.{cents % 100:02}"


def change(cart: dict[str, int], product_id: int, count: int) -> None:
    """Set the count of a product in place; 0 removes its line."""
    if count <= 0:
        cart.pop(str(product_id), None)
    else:
        cart[str(product_id)] = min(count, MOST)


def lines(cart: dict[str, int]) -> list[Line]:
    """Return the cart with its products; what is no longer sold is left out."""
    products = Product.objects.in_bulk([int(product_id) for product_id in cart])
    return [
        Line(products[int(product_id)], count)
        for product_id, count in cart.items()
        if int(product_id) in products
    ]


def total(cart_lines: list[Line]) -> str:
    """Return the sum of all lines, as shown."""
    cents = sum(line.product.price_cents * line.count for line in cart_lines)
    return f"{cents // 100}.{cents % 100:02}"


def item_count(request: HttpRequest) -> dict[str, Any]:
    """Put the number of things in the cart into every template, without loading a session twice."""
    session = getattr(request, "session", None)
    cart = session.get(FIELD, {}) if session is not None else {}
    return {"item_count": sum(cart.values())}
