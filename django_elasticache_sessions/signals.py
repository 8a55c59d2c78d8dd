"""What happens to the store, for those who want to be told.

`store_unavailable` and `store_recovered` are sent once at each edge in each process, not for each
request. Their arguments: `sender`, the string `"cache"` or `"database"`; `alias`, its name in
`CACHES` or `DATABASES`; and, when it became unavailable, `problem`, a `SessionStoreUnavailable`.

What a receiver raises is logged by Django and does not reach the request.
"""

from __future__ import annotations

from django.dispatch import Signal

store_unavailable = Signal()
store_recovered = Signal()
