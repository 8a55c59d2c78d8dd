"""The shop as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """`INSTALLED_APPS` entry `"shop"`."""

    name = "shop"
