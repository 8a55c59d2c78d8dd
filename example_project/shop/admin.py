"""Products in Django's admin."""

from __future__ import annotations

from django.contrib import admin

from .models import Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Plain and enough."""

    list_display = ("name", "price")
    prepopulated_fields = {"slug": ("name",)}
