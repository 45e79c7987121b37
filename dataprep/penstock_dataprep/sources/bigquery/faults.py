"""Turn what BigQuery answers into messages for people."""

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from penstock_shared.errors import PenstockError, UserMistake

# What may go away by itself: the connection, or what the service is short of at the moment.
PASSING = (
    exceptions.ServiceUnavailable,
    exceptions.InternalServerError,
    exceptions.Unknown,
    exceptions.Aborted,
    exceptions.Cancelled,
    exceptions.DeadlineExceeded,
    exceptions.ResourceExhausted,
)
# What a stream answers whose session has expired (FAILED_PRECONDITION), or is not known any more.
SESSION_LOST = (exceptions.FailedPrecondition, exceptions.NotFound)
ANY = (exceptions.GoogleAPIError, GoogleAuthError)


def explain(fault: Exception, place: str, wanted: str, remedy: str = "") -> PenstockError:
    """Return the error to raise for `fault`: at `place` in the spec, where `wanted` was asked for.

    `remedy` is for a request that BigQuery finds wrong.
    """
    said = " ".join(str(getattr(fault, "message", fault)).split())
    if isinstance(fault, exceptions.Forbidden):
        return UserMistake(
            f"{place}: {wanted}: permission denied: {said}; the account needs the roles BigQuery Data Viewer on the "
            "table's dataset, and BigQuery Read Session User and BigQuery Job User on the project that pays"
        )
    if isinstance(fault, exceptions.NotFound):
        return UserMistake(f"{place}: {wanted}: not found: {said}; expected project.dataset.table of one that exists")
    if isinstance(fault, (exceptions.Unauthorized, GoogleAuthError)):
        return UserMistake(
            f"{place}: {wanted}: the credentials were refused: {said}; run gcloud auth application-default login"
        )
    if isinstance(fault, exceptions.BadRequest):
        return UserMistake(f"{place}: {wanted}: BigQuery refused it: {said}" + (f"; {remedy}" if remedy else ""))
    return PenstockError(f"{place}: {wanted}: {said}; run the same command again to go on from here")
