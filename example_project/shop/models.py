"""What the shop sells."""

from __future__ import annotations

from django.db import models
from django.urls import reverse


class Product(models.Model):
    """One thing to buy; the price in cents."""

    name = models.CharField(max_length=80)
    slug = models.SlugField(unique=True)
    text = models.TextField()
    price_cents = models.PositiveIntegerField()
    hue = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the product's page."""
        return reverse("shop:product", args=[self.slug])

    @property
    def price(self) -> str:
        """The price as shown."""
        return f"{self.price_cents // 100}.{self.price_cents % 100:02}"
