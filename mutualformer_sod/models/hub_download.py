"""Download files from the Hugging Face hub and fail fast if there is no connection."""

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
    """Return the path of a downloaded file, or of the cached file if there is no connection.

    Without a connection, the hub's client repeats its first request for half a minute, and no
    option reduces the time. This function therefore checks the connection first.

    Args:
        patient: start the download even if the first request shows a slow network or a busy hub.
            If False, any failure of the first request prevents the download.
        revision, token, local_files_only, options: arguments of `huggingface_hub.hf_hub_download`.

    Raises:
        Exception: the hub's client or the system fails; the errors are of a dozen unrelated types.
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
    """Return the error of a request if the hub is unreachable; otherwise return None.

    Without ``patient``, every error counts as an unreachable hub.
    """
    for pause in (0.0, _PAUSE_SECONDS):
        time.sleep(pause)
        try:
            huggingface_hub.get_hf_file_metadata(address, token=token, timeout=_ANSWER_SECONDS)
            return None
        except Exception as error:  # the type depends on the version of the hub's client
            problem = _system_error(error) if patient else error
        if problem is None or not patient:
            break
    return problem


def _system_error(error: BaseException | None) -> OSError | None:
    """Return the cause of an error that shows a missing connection, or None for other errors."""
    while error is not None:
        is_missing = isinstance(error, socket.gaierror | ConnectionRefusedError)
        if is_missing or getattr(error, "errno", None) in _NO_ROUTE:
            return error
        error = error.__cause__ or error.__context__
    return None
