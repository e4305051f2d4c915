"""Download a file from the Hugging Face hub; without a connection, fail soon."""

import errno
import socket
import time
from typing import Any

import huggingface_hub

_ANSWER_SECONDS = 5.0  # timeout of the request that checks whether the hub has a file
_PAUSE_SECONDS = 1.0  # pause before the second attempt to reach the hub
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)


def download(
    repository: str,
    file: str,
    *,
    patient: bool = True,
    revision: str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    **options: Any,
) -> str:
    """Return the path of a downloaded file; without a connection, of one in the local cache.

    The hub's client alone repeats its first request for half a minute, and no option reduces this.

    Args:
        patient: leave a slow network and a busy hub to the client. False: the file is not
            downloaded if the first request fails for any reason.
        revision, token, local_files_only, options: see `huggingface_hub.hf_hub_download`.

    Raises:
        Exception: an error of the hub's client or of the system; it has a dozen unrelated types.
    """
    problem = None
    if not local_files_only:
        address = huggingface_hub.hf_hub_url(repository, file, revision=revision)
        problem = _no_connection(address, token, patient)
    try:
        return huggingface_hub.hf_hub_download(
            repository,
            file,
            revision=revision,
            token=token,
            local_files_only=local_files_only or problem is not None,
            etag_timeout=_ANSWER_SECONDS,
            **options,
        )
    except (OSError, ValueError) as error:
        if problem is None:
            raise
        raise problem from error


def _no_connection(address: str, token: str | bool | None, patient: bool) -> Exception | None:
    """Return the error that shows that the hub is not reachable, else None."""
    problem = None
    for pause in (0.0, _PAUSE_SECONDS):
        time.sleep(pause)
        try:
            huggingface_hub.get_hf_file_metadata(address, token=token, timeout=_ANSWER_SECONDS)
            return None
        except Exception as error:  # its type depends on the hub client's version
            if not patient:
                return error
            problem = _system_error(error)
        if problem is None:
            return None
    return problem


def _system_error(error: BaseException | None) -> OSError | None:
    """Return the cause of an error: unknown host, refused connection or no route; else None."""
    while error is not None:
        is_missing = isinstance(error, socket.gaierror | ConnectionRefusedError)
        if is_missing or getattr(error, "errno", None) in _NO_ROUTE:
            return error
        error = error.__cause__ or error.__context__
    return None
