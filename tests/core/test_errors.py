"""An error that is shown has no password in it, wherever the address came from."""

import doctest

import pytest

from selftaught.core import errors
from selftaught.core.errors import BadInput, SelftaughtError, Unavailable
from selftaught.state.store import open_store
from selftaught.state.tracking import Tracker


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(errors).failed == 0


@pytest.mark.parametrize("kind", [SelftaughtError, BadInput, Unavailable])
def test_no_message_has_user_and_password_of_a_url(kind: type[SelftaughtError]):
    found = str(kind("https://me:hunter2@example.com/x and s3://u:hunter2@b: no answer. Write to me@example.com."))
    assert found == "https://example.com/x and s3://b: no answer. Write to me@example.com."


@pytest.mark.parametrize("password", ["p@ss", "pa/ss", "p@ss/w", "p@ss@", "p:a/ss", "p#ss", "p?ss", "1234"])
def test_a_password_that_should_have_been_quoted_is_in_no_message_either(password: str):
    assert str(BadInput(f"'http://me:{password}@example.com/x' is silent")) == "'http://example.com/x' is silent"


@pytest.mark.parametrize("address", ["https://hub/owner/name@main", "http://host:5000/a@b", "http://[::1]:5000/a@b"])
def test_an_address_without_a_password_stays_as_it_is(address: str):
    assert str(BadInput(address)) == address


def test_a_registry_that_does_not_answer_is_named_without_its_password():
    with pytest.raises(Unavailable) as found:
        Tracker("http://user:hunter2@127.0.0.1:9").lines()
    assert "127.0.0.1:9" in str(found.value)
    assert "hunter2" not in str(found.value)


def test_a_store_that_is_none_is_named_without_its_password():
    with pytest.raises(SelftaughtError) as found:
        open_store("s4://u:hunter2@b")
    assert "s4://b" in str(found.value)
