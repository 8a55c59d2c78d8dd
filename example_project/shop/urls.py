"""The shop's URLs."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "shop"
urlpatterns = [
    path("", views.products, name="products"),
    path("products/<slug:slug>/", views.product, name="product"),
    path("cart/", views.show_cart, name="cart"),
    path("cart/<int:product_id>/", views.change_cart, name="change"),
    path("async/cart/", views.show_cart_async, name="cart-async"),
    path("async/cart/<int:product_id>/", views.change_cart_async, name="change-async"),
    path("session/", views.session, name="session"),
]
