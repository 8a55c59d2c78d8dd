"""The shop at the root, Django's admin beside it."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", include("shop.urls")),
    path("login/", auth.LoginView.as_view(), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("devices/", include("django_elasticache_sessions.urls")),
    path("admin/", admin.site.urls),
    # Browsers ask for it on their own.
    path("favicon.ico", RedirectView.as_view(url=static("shop/icon.svg"))),
]
