import pytest

import service.errors as service_errors
from contract import errors as contract_errors
from service.api.errors import STATUSES, status_of

ROOTS = (service_errors.ServiceError, contract_errors.ContractError)


def _family(root):
    return [each for child in root.__subclasses__() for each in (child, *_family(child))]


@pytest.mark.parametrize("kind", [kind for root in ROOTS for kind in _family(root)])
def test_every_error_has_a_status_that_was_chosen_for_its_family(kind):
    row = next(family for family in kind.__mro__ if family in STATUSES)

    assert row not in ROOTS
    assert 400 <= status_of(kind) < 600


def test_no_two_errors_share_a_code():
    codes = [kind.code for root in ROOTS for kind in _family(root)]

    assert len(codes) == len(set(codes))
