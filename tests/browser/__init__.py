"""The admin and the shop in a real Chromium."""
