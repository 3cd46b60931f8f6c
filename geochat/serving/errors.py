"""What is answered when a request cannot be: a status and an error object of the kind that OpenAI's API has."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

TYPES = {
    401: 'authentication_error',
    408: 'timeout_error',
    429: 'rate_limit_error',
    500: 'server_error',
    503: 'service_unavailable_error',
    504: 'timeout_error',
}
"""The error object's ``type`` by status; ``'invalid_request_error'`` for all others."""

RETRY_SECONDS = {429: 1, 503: 5}
"""After how long to ask again, by status."""


class APIError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: What is wrong, for a person.
        code: What is wrong, for a program.
        param: The request's field that is wrong; None if it is none.
    """

    def __init__(self, status: int, message: str, code: str, param: str | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        kind = TYPES.get(self.status, 'invalid_request_error')
        return {'error': {'message': self.message, 'type': kind, 'param': self.param, 'code': self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with it."""
        headers = {'Retry-After': str(RETRY_SECONDS[self.status])} if self.status in RETRY_SECONDS else {}
        return {**headers, 'WWW-Authenticate': 'Bearer'} if self.status == 401 else headers

    @property
    def response(self) -> JSONResponse:
        """The reply."""
        return JSONResponse(self.body, self.status, self.headers)


async def error_response(request: Request, error: APIError) -> JSONResponse:
    """Handle an error of a request, as applications ask for it."""
    return error.response


def bad_request(message: str, param: str | None = None, code: str = 'invalid_value') -> APIError:
    """Return the error for a request that is not as it should be."""
    return APIError(400, message, code, param)


def time_is_over() -> APIError:
    """Return the error for an answer that takes too long."""
    return APIError(504, 'the answer was not written in the time that is given for one', 'answer_timeout')
