"""The example shop under gunicorn, while its stores are killed, frozen, replaced and cut off.

``drill``
    Faults one after the other under shoppers, and the judgement of what came of it.
``shoppers``
    Visitors that log in, change their carts and log out, and keep a ledger of every answer.
``stage``
    The servers, and what is done to them.
``settings``
    The example shop's settings, with the sessions' rows in a database of their own.
"""

import pytest

pytest.register_assert_rewrite("tests.chaos.drill")
