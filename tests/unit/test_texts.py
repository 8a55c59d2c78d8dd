"""Sentences that know how to be translated."""

from __future__ import annotations

import copy
import pickle

from django.utils import translation

from django_elasticache_sessions.drivers.replies import ErrorReply, classify
from django_elasticache_sessions.texts import Text, text_of, translated

LOADING = "The session store did not serve: it is still loading its data."


def test_an_error_is_english_whoever_reads_and_its_text_is_not():
    with translation.override("de"):
        problem = classify(ErrorReply("LOADING"))
        assert f"{problem}" == LOADING
        assert "lädt noch seine Daten" in translated(text_of(problem))
    assert translated(text_of(problem)) == LOADING


def test_values_stay_as_they_are():
    # "yes" is a word of the catalogues.
    text = Text("it answered with an error (%(error)s).", error="yes 100 %(x)s")
    with translation.override("de"):
        assert translated(text) == "er hat mit einem Fehler geantwortet (yes 100 %(x)s)."


def test_a_text_of_others_stays_as_it_is():
    with translation.override("de"):
        assert translated(text_of(ValueError("yes"))) == "yes"
        assert translated(text_of(ValueError())) == ""
        assert translated(text_of(OSError(7, "yes"))) == "7"


def test_a_text_survives_being_copied_to_another_process():
    text = text_of(classify(ErrorReply("LOADING")))
    for again in (pickle.loads(pickle.dumps(text)), copy.deepcopy(text)):
        assert again == LOADING
        with translation.override("de"):
            assert translated(again) == translated(text) != LOADING
