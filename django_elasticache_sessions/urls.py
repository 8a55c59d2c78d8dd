""" "Your devices": `path("devices/", include("django_elasticache_sessions.urls"))`."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "devices"
urlpatterns = [
    path("", views.DevicesView.as_view(), name="list"),
    path("end-others/", views.EndOtherDevicesView.as_view(), name="end-others"),
    path("<str:session_id>/end/", views.EndDeviceView.as_view(), name="end"),
]
