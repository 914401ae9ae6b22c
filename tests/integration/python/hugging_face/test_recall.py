"""A model that was trained to recall facts does so through the database, and fails without it.

tests/benchmarks/recall_bench.py measures the same at full size.
"""

import numpy as np
import pytest

from models import alayadb
from recall import Examination, load_model, make_text


@pytest.fixture(scope="module")
def model():
    return load_model()


def test_recall_by_what_is_attended_to(db, model):
    text = make_text(4096, 40, np.random.default_rng(7))
    examination = Examination(db, model, text)

    own, _ = examination.by_the_model()
    full, _ = examination.through_database(target=alayadb.Full())
    default, _ = examination.through_database()
    dipr, attended = examination.through_database(target=alayadb.Dipr(), tail_estimate=False)
    window, _ = examination.by_the_model(alayadb.Window())

    assert np.mean(own) >= 0.9
    assert full == own
    assert np.mean(default) >= np.mean(own) - 0.05
    assert np.mean(dipr) >= np.mean(own) - 0.05
    assert np.mean(attended) < 0.8 * len(text.tokens)
    # Keys that are mentioned once or thrice are seldom in the window.
    rare = text.mentions <= 3
    assert np.mean(np.array(window)[rare]) <= np.mean(np.array(dipr)[rare]) - 0.4


def test_a_text_answers_its_questions():
    text = make_text(1024, 15, np.random.default_rng(1))

    facts = text.tokens[1:].reshape(-1, 2)
    for key, answer, count in zip(text.keys, text.answers, text.mentions):
        said = facts[facts[:, 0] == key, 1]
        assert len(said) == count
        assert np.bincount(said).argmax() == answer
