"""The addresses the tests visit: each page once for WSGI and once, below `async/`, for ASGI."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

from . import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("devices/", include("django_elasticache_sessions.urls")),
    path("read/", views.read),
    path("steps/", views.steps),
    path("login/", views.login),
    path("logout/", views.logout),
    path("user/", views.user),
    path("password/", auth.PasswordChangeView.as_view(success_url="/user/")),
    path(
        "reset/<uidb64>/<token>/",
        auth.PasswordResetConfirmView.as_view(success_url="/user/"),
    ),
    path("async/password/", auth.PasswordChangeView.as_view(success_url="/user/")),
    path("async/read/", views.aread),
    path("async/steps/", views.asteps),
]
