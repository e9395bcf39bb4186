"""Parameters in an address that nobody reads: a misspelt filter must not go unnoticed."""

from fastapi import Request

from rankwell.data.errors import InputError, nearest


# not a plain function, which FastAPI would hand to a thread
async def check_parameters(request: Request) -> None:
    """Checks that an endpoint takes all parameters of a request's address.

    Raises:
        InputError: it does not take one.
    """
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            hint = nearest(name, known) if known else "this address takes none"
            raise InputError(f"there is no parameter '{name}'; {hint}", field=name)
