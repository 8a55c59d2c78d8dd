"""Django's contract for session engines: our own proof of it, and Django's.

``test_session_store``
    Each behaviour of `SessionBase`, through the sync and through the async methods.
``face``
    A session used either way, in the same words.
``django_suite``
    `python -m tests.contract.django_suite` runs Django's own tests, from its source distribution.
"""
